"""A supervisor and its workers understand each other while one version replaces another."""

import json
from dataclasses import asdict, replace

from gateway.workers.handover import Handover, take

HANDED = Handover((3,), (4,), 5, 0, "/shared", None, successor=True, beside=True)


def test_a_worker_is_handed_what_its_supervisor_says() -> None:
    environ = HANDED.variable()
    assert take(environ) == HANDED
    assert environ == {}
    assert take(environ) is None


def test_a_worker_takes_what_a_supervisor_of_another_version_hands_over() -> None:
    (variable,) = HANDED.variable()
    newer = {**asdict(HANDED), "of_a_later_version": 1}
    assert take({variable: json.dumps(newer)}) == HANDED
    older = {name: value for name, value in asdict(HANDED).items() if name != "beside"}
    assert take({variable: json.dumps(older)}) == replace(HANDED, beside=False)
