"""Usage in Redis: hashes `gw:usage:{<owner>}:<bucket>` with one field for each name and count. In a
cluster all buckets of one owner share a slot."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.domain.usage import COUNTED, Bucket, Counts
from gateway.store.admission import Lines
from gateway.store.commands import as_answer, ask_all, number_or_none, source, value_or_logged
from gateway.store.connections.line import ReplyError, pack
from gateway.tasks import cooperatively

_ADD, _ = source("usage")
_FIELD = re.compile(rb"(.*)\|([a-z]+)", re.DOTALL)

# A bucket may have thousands of names; ten buckets of a hundred names take the event loop some
# milliseconds.
IN_ONE_TURN = 10
# Redis refuses with these before it runs anything, and may accept the same in a moment.
_NOT_NOW = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
)


@dataclass(frozen=True, slots=True)
class NotAdded:
    """`unsure`: may have been added; a retry with the same number adds them only once. `lost`:
    Redis will never accept them, for instance because their names hold another type."""

    unsure: tuple[Bucket, ...]
    lost: tuple[Bucket, ...]


class _Outcome(Enum):
    ADDED = auto()
    UNSURE = auto()
    LOST = auto()


class UsageWriter:
    """Adds the counts of one process. `worker`: a name that no other process ever has."""

    def __init__(self, lines: Lines, worker: str, prefix: str) -> None:
        self._lines = lines
        self._worker = worker
        self._prefix = prefix

    async def add(self, counted: Mapping[Bucket, Mapping[str, Counts]], number: int) -> NotAdded:
        """Add the counts; return what was not added, or may not have been."""
        outcomes = await asyncio.gather(
            *(self._add(bucket, names, number) for bucket, names in counted.items())
        )
        results = list(zip(counted, outcomes, strict=True))
        return NotAdded(
            tuple(bucket for bucket, outcome in results if outcome is _Outcome.UNSURE),
            tuple(bucket for bucket, outcome in results if outcome is _Outcome.LOST),
        )

    async def _add(self, bucket: Bucket, names: Mapping[str, Counts], number: int) -> _Outcome:
        pairs: list[str] = []
        for name, counts in names.items():
            for what in COUNTED:
                if amount := getattr(counts, what):
                    pairs += (f"{name}|{what}", str(amount))
        key = _name(self._prefix, bucket)
        command = pack("EVAL", _ADD, 1, key, self._worker, number, bucket.kept, *pairs)
        try:
            try:
                await self._lines.call(command, bucket.owner)
            except ReplyError as error:
                await self._lines.repeat(error, command, bucket.owner)
        except ReplyError as error:
            return _Outcome.UNSURE if error.kind in _NOT_NOW else _Outcome.LOST
        except StoreError:
            return _Outcome.UNSURE
        return _Outcome.ADDED

    async def close(self) -> None:
        await self._lines.close()


class UsageStore:
    """Reads the counts of all processes. StoreError if Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def read(
        self, buckets: Sequence[Bucket], *, whole: bool = False
    ) -> list[dict[str, Counts]]:
        """Return the counts of each bucket by name; empty: nothing was counted, or it is no longer
        kept. A bucket name that holds another type is skipped, unless the result has to be
        `whole`."""
        names = [_name(self._prefix, bucket) for bucket in buckets]
        answers = await ask_all(self._client, [("HGETALL", name) for name in names])
        if whole:
            found = list(map(as_answer, answers))
        else:
            found = [value_or_logged(*one) or {} for one in zip(names, answers, strict=True)]
        return [_named(answer) async for answer in cooperatively(found, IN_ONE_TURN)]


def _name(prefix: str, bucket: Bucket) -> str:
    return f"{prefix}usage:{{{bucket.owner}}}:{bucket.place}"


def _named(answer: Any) -> dict[str, Counts]:
    pairs = (
        answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    )
    found: dict[str, Counts] = {}
    for raw, value in pairs:
        match = _FIELD.fullmatch(raw)
        number = number_or_none(value)
        if match is None or match[2].decode() not in COUNTED or number is None:
            continue
        counts = found.setdefault(match[1].decode(errors="replace"), Counts())
        setattr(counts, match[2].decode(), number)
    return found
