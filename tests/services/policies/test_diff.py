"""Who loses, counted over as many keys as there are."""

from collections.abc import AsyncIterator

from gateway.domain.keys.record import KeyRecord
from gateway.domain.policies.diff import Comparison, KeyDiff
from gateway.domain.policies.snapshot import Policies
from gateway.services.policies.diff import tally

LOST = KeyDiff(refused="plan gold is gone")


class Counting(Comparison):
    """Says how many keys it was asked about."""

    asked = 0

    def of(self, record: KeyRecord) -> KeyDiff:
        self.asked += 1
        return LOST if record.plan == "gold" else KeyDiff()


async def many(count: int) -> AsyncIterator[KeyRecord]:
    for n in range(count):
        plan = "gold" if n % 4 == 0 else "basic"
        yield KeyRecord(f"{n:012}", consumer=f"c{n % 2}\udcff", plan=plan, scopes="agents/*")


async def test_keys_that_are_alike_are_judged_once_and_told_together() -> None:
    comparison = Counting(Policies(), Policies())
    told = await tally(many(10_000), comparison)
    assert comparison.asked == 2
    assert told.looked_at == 10_000
    (group,) = told.groups
    # What is in a record by hand may be no text at all.
    assert (group.consumer, group.plan, group.change) == ("c0?", "gold", LOST)
    assert (group.count, group.ids[:2]) == (2500, ("000000000000", "000000000004"))
    assert len(group.ids) == 5
