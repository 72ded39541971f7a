"""Who among the living keys gains and who loses under other policies."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.domain.keys.record import KeyRecord, well_formed
from gateway.domain.policies.diff import UNCHANGED, Comparison, KeyDiff, Structure
from gateway.domain.policies.snapshot import Policies
from gateway.services.keys.find import living
from gateway.store.key_reader import KeyReader

# There are many keys and mostly few kinds of them.
MOST_REMEMBERED = 10_000
# Ids named per group: `keys list` finds the rest.
MOST_IDS = 5

Kind = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """`count` keys of one consumer on one plan with the same change; `ids` of the first ones."""

    consumer: str
    plan: str
    change: KeyDiff
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """`looked_at`: how many keys are alive. Nothing changes for keys that are in no group."""

    looked_at: int
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """`strangers`: callers without a key. `keys` None: they could not be read."""

    loses: bool
    structure: Structure
    strangers: KeyDiff
    keys: KeysChanged | None


async def diff(before: Policies, after: Policies, keys: KeyReader | None) -> PolicyDiff:
    """Return what changes from `before` to `after`; `keys` None: there are none to compare.
    StoreError if they cannot be read."""
    # In a thread: comparing routes takes time, and this event loop may serve callers.
    comparison = await asyncio.to_thread(Comparison, before, after)
    changed = await tally(living(keys), comparison) if keys is not None else None
    strangers = comparison.strangers()
    groups = changed.groups if changed else ()
    loses = strangers.loses or any(group.change.loses for group in groups)
    return PolicyDiff(loses, comparison.structure, strangers, changed)


async def tally(records: AsyncIterator[KeyRecord], comparison: Comparison) -> KeysChanged:
    """Group the keys by what changes for them; keys that are alike are judged once."""
    known: OrderedDict[Kind, KeyDiff] = OrderedDict()
    groups: dict[tuple[str, str, KeyDiff], Group] = {}
    looked_at = 0
    async for record in records:
        looked_at += 1
        kind = record.scopes, record.plan, record.limits
        change = known.get(kind)
        if change is None:
            change = known[kind] = comparison.of(record)
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
        if change != UNCHANGED:
            _add(groups, record, change)
    ordered = sorted(groups.values(), key=lambda g: (not g.change.loses, g.consumer, g.plan))
    return KeysChanged(looked_at, tuple(ordered))


def _add(groups: dict[tuple[str, str, KeyDiff], Group], record: KeyRecord, change: KeyDiff) -> None:
    consumer, plan = well_formed(record.consumer), well_formed(record.plan)
    before = groups.get((consumer, plan, change), Group(consumer, plan, change, 0, ()))
    ids = before.ids if len(before.ids) == MOST_IDS else (*before.ids, record.id)
    groups[consumer, plan, change] = Group(consumer, plan, change, before.count + 1, ids)
