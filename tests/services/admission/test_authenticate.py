"""An id without a record is refused like a wrong secret, and at the same cost."""

import time

import pytest

from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.tags import Peppers
from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import Key, compose
from gateway.domain.keys.record import KeyRecord
from gateway.services.admission.authenticate import Authenticator
from tests.crypto.proofs import proofs
from tests.phc import PHC

PEPPERS = Peppers((b"p" * 32,))
KEY, WRONG = (compose("live", "abcdefghijkl", letter * 32) for letter in "sw")
RECORD = KeyRecord(KEY.id, hash=PHC, tag=PEPPERS.make(KEY.text, PHC), status="active")


async def _no_tag(*_: str) -> None:
    raise AssertionError("nothing is proven here")


def refused(key: Key, record: KeyRecord) -> None:
    prover = Authenticator(PEPPERS, Argon2Pool(), _no_tag, time.monotonic)
    with pytest.raises(Denied) as denied:
        # It waits for nothing, so that all of it is in this one step.
        prover.prove(key, b"digest", record, 0.0, "192.0.2.1").send(None)
    assert denied.value.code is Code.KEY_INVALID


@pytest.mark.parametrize("fields", [{}, {"status": "active", "hash": "junk", "tag": RECORD.tag}])
def test_an_id_that_opens_for_no_secret_costs_what_a_wrong_secret_does(
    fields: dict[str, str],
) -> None:
    wrong = proofs(lambda: refused(WRONG, RECORD))
    assert wrong
    assert proofs(lambda: refused(WRONG, KeyRecord(WRONG.id, **fields))) == wrong
