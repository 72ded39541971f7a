"""Moving keys between gateways: whole records, with hashes and without plaintext."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from types import MappingProxyType

from gateway.crypto.tags import Peppers, is_tag
from gateway.domain.errors import StoreError, UsageError
from gateway.domain.keys.copies import KeyCopy, check_fields
from gateway.domain.keys.key import is_id
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.protocol.key_file import Line
from gateway.services.keys.audited import Keys
from gateway.services.keys.find import KeyFilter, scan_records
from gateway.services.keys.lifecycle import KeyChange
from gateway.store.commands import BATCH

_OUTCOMES = MappingProxyType(
    {
        "made": ("imported", ""),
        "replaced": ("replaced", ""),
        "same": ("unchanged", ""),
        "ended": ("skipped", "Key {id} was to be removed by now, and is left out."),
        "taken": (
            "refused",
            "Key {id} is here and differs: --overwrite puts the file's record in its place.",
        ),
        "revoked": (
            "refused",
            "Key {id} is revoked here and stays so: 'gateway keys rotate {id}' revives it.",
        ),
        "strange": (
            "refused",
            "The name of key {id} holds no key record: see 'gateway redis -- TYPE NAME'.",
        ),
    }
)
_WOULD = MappingProxyType({"imported": "would import", "replaced": "would replace"})


def check(copy: KeyCopy) -> None:
    """Raise UsageError, in one sentence, for a record that no gateway would have written."""
    record = copy.record
    check_fields(record)
    if not acceptable(record.hash):
        raise UsageError("hash is not an argon2id PHC string within m=65536, t=4, p=4.")
    if record.previous_hash and not acceptable(record.previous_hash):
        raise UsageError("previous_hash is not an argon2id PHC string within m=65536, t=4, p=4.")
    if not record.previous_hash and (record.previous_tag or record.previous_expires_at):
        raise UsageError("There is a previous secret's tag or end, and no previous_hash.")
    if any(tag and not is_tag(tag) for tag in (record.tag, record.previous_tag)):
        raise UsageError("tag or previous_tag is neither empty nor <pid>:<fp>:<mac>.")


async def copies(keys: Keys, wanted: KeyFilter, ids: Sequence[str]) -> AsyncIterator[KeyCopy]:
    """Yield the records of these ids, else all that pass the filter, in the order of ids."""
    found = keys.read(ids) if ids else scan_records(keys, wanted)
    batch: list[KeyRecord] = []
    async for record in found:
        batch.append(record)
        if len(batch) == BATCH:
            for copy in await keys.copies(batch):
                yield copy
            batch.clear()
    for copy in await keys.copies(batch):
        yield copy


def sort_out(lines: Iterable[Line]) -> tuple[list[KeyCopy], list[KeyChange]]:
    """Return what can be imported, and what cannot, with the reason."""
    good: dict[str, KeyCopy] = {}
    bad: list[KeyChange] = []
    for line in lines:
        if isinstance(line.found, str):
            bad.append(_refused(line, line.found))
            continue
        key_id = line.found.record.id
        try:
            check(line.found)
        except UsageError as problem:
            bad.append(_refused(line, str(problem)))
            continue
        if key_id in good:
            bad.append(_refused(line, "This id is in the file twice."))
        good[key_id] = line.found
    return list(good.values()), bad


def _refused(line: Line, why: str) -> KeyChange:
    # An invalid id is not repeated: it may be a whole key.
    key_id = line.found.record.id if isinstance(line.found, KeyCopy) else ""
    key_id = key_id if is_id(key_id) else f"line {line.number}"
    return KeyChange(key_id, "refused", f"Line {line.number}: {why}")


async def put_all(
    keys: Keys, wanted: Iterable[KeyCopy], *, overwrite: bool, dry_run: bool
) -> list[KeyChange]:
    """Import each key by itself: a failure of one is its outcome, and the others go on."""
    changes = []
    for copy in wanted:
        key_id = copy.record.id
        try:
            verdict = await keys.put(copy, overwrite=overwrite, dry_run=dry_run)
        except StoreError as problem:
            changes.append(KeyChange(key_id, "refused", f"Key {key_id}: {problem}"))
            continue
        outcome, note = _OUTCOMES[verdict]
        shown = _WOULD.get(outcome, outcome) if dry_run else outcome
        changes.append(KeyChange(key_id, shown, note.format(id=key_id)))
    return changes


def remarks(
    wanted: Collection[KeyCopy], peppers: Peppers, plans: Collection[str] | None
) -> list[str]:
    """Return what an operator should know in addition to the outcomes, in sentences."""
    foreign = sum(
        any(tag and not peppers.is_known(tag) for tag in (c.record.tag, c.record.previous_tag))
        for c in wanted
    )
    found = []
    if foreign:
        found.append(
            f"Tags of {foreign} of these keys are of a pepper that is not known here: they work, "
            "and cost each process one argon2 run. GATEWAY_PEPPER may hold it behind your own."
        )
    if plans is not None:
        lost = sorted({c.record.plan for c in wanted if c.record.plan} - set(plans))
        found += [
            f"No policy here has the plan {p!r}: its keys are refused until it has." for p in lost
        ]
    return found
