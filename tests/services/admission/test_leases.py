"""A process holds on to the places that its requests have, and to no other."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.tags import Peppers
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.limit_headers import limit_fields
from gateway.domain.keys.limits import Concurrency
from gateway.domain.keys.record import KeyRecord
from gateway.services.admission.admit import Clocks, Gatekeeper
from gateway.services.admission.authenticate import Authenticator
from gateway.services.admission.cached_key import Access
from gateway.services.admission.leases import Leases
from gateway.store.admission import Admission, Charged, Exceeded

RECORD = KeyRecord("abcdefghijkl", hash="h", status="active")
TWO = (NamedLimit("concurrency", "", Concurrency(2)),)


async def _no_tag(*_: str) -> None:
    raise AssertionError("nothing is proven here")


@pytest.fixture
async def leases(admission: Admission) -> AsyncIterator[Leases]:
    made = Leases(admission)
    yield made
    await made.close()


async def test_no_place_is_held_that_was_refused_or_whose_caller_left_before_the_answer(
    admission: Admission, leases: Leases, client: Redis
) -> None:
    """It would be renewed for as long as the process lives."""
    await client.hset(f"gw:key:{{{RECORD.id}}}", mapping={"hash": "h", "status": "active"})
    prover = Authenticator(Peppers(), Argon2Pool(), _no_tag, time.monotonic)
    keeper = Gatekeeper(prover, admission, leases, Clocks(time.monotonic, time.time))
    names = admission.lease_names(RECORD.id, TWO)
    access = Access(True, None, TWO, names, (), limit_fields(()), b"")
    command = admission.pack_charge(RECORD, TWO, valid_until=0)
    for held in (1, 2):
        answer, _ = await keeper._run_with_lease(RECORD.id, command, access)
        assert isinstance(answer, Charged)
        assert leases.held == held
    answer, lease = await keeper._run_with_lease(RECORD.id, command, access)
    assert isinstance(answer, Exceeded)
    assert (lease, leases.held) == (None, 2)
    await client.delete(*names)
    left = asyncio.create_task(keeper._run_with_lease(RECORD.id, command, access))
    await asyncio.sleep(0)
    assert leases.held == 3
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert leases.held == 2
    await admission.ping()
    assert await client.zcard(names[0]) == 0
