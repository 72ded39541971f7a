"""What is believed has a bounded room, whoever calls whatever."""

from collections.abc import AsyncIterator

import pytest

from gateway.domain.keys.record import from_fields
from gateway.domain.policies.snapshot import Agent, Policies
from gateway.domain.settings import StoreSettings
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.belief import Belief, believe
from gateway.services.admission.beliefs import Beliefs
from gateway.services.admission.locate import Located
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import open_lines

ROOM = 40
POLICIES = Policies()


@pytest.fixture
async def beliefs(store: StoreSettings) -> AsyncIterator[Beliefs]:
    admission = Admission(open_lines(store, PREPARE), store.prefix)
    yield Beliefs(admission, ROOM)
    await admission.close()


def belief(number: int) -> Belief:
    record = from_fields(f"{number:012d}", {"consumer": "sales", "scopes": "agents/*"})
    return believe(record, Candidate(Slot.CURRENT, "", ""), POLICIES)


def door(beliefs: Beliefs, number: int, agents: int) -> None:
    """A key calls so many agents."""
    digest = b"%d" % number
    one = beliefs.get(digest) or beliefs.keep(digest, belief(number))
    for agent in range(agents):
        beliefs.door(one, Located(Agent(f"a{agent}", ()), b"/"))


def remembered(beliefs: Beliefs) -> list[int]:
    found = ((number, beliefs.get(b"%d" % number)) for number in range(100))
    return [number for number, one in found if one is not None]


@pytest.mark.parametrize("agents", [1, 8])
async def test_keys_and_what_they_call_share_one_room(beliefs: Beliefs, agents: int) -> None:
    for number in range(100):
        door(beliefs, number, agents)
        kept = [beliefs.get(b"%d" % one) for one in remembered(beliefs)]
        assert sum(len(one.doors) for one in kept if one is not None) <= ROOM
    # The oldest went, and as few as had to.
    left = remembered(beliefs)
    assert left == list(range(left[0], 100))
    assert len(left) * agents > ROOM // 2


async def test_a_key_that_calls_again_opens_nothing_anew(beliefs: Beliefs) -> None:
    door(beliefs, 1, 1)
    for _ in range(10 * ROOM):
        door(beliefs, 1, 1)
    door(beliefs, 2, 1)
    assert remembered(beliefs) == [1, 2]


async def test_a_key_whose_record_was_read_anew_counts_once(beliefs: Beliefs) -> None:
    for _ in range(10 * ROOM):
        beliefs.keep(b"1", belief(1))
        door(beliefs, 1, 1)
    door(beliefs, 2, 1)
    assert remembered(beliefs) == [1, 2]
