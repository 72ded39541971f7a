"""Usage in Redis: hashes `gw:usage:{<owner>}:<bucket>`, one field for each name and what is
counted of it. In a cluster all buckets of one owner share a slot."""

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
from gateway.store.commands import as_answer, ask_all, number_or_none, source, value_or_told
from gateway.store.connections.line import ReplyError, pack
from gateway.tasks import in_turns

_ADD, _ = source("usage")
_FIELD = re.compile(rb"(.*)\|([a-z]+)", re.DOTALL)

# A bucket may have thousands of names; ten with a hundred take the event loop some milliseconds.
IN_ONE_TURN = 10
# Redis says so before it runs anything, and may take the same a moment later.
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
    """`unsure`: may have been added; told again with the same number, they are added once.
    `lost`: Redis never takes them, because their names hold something else, for instance."""

    unsure: tuple[Bucket, ...]
    lost: tuple[Bucket, ...]


class _Outcome(Enum):
    ADDED = auto()
    UNSURE = auto()
    LOST = auto()


class UsageWriter:
    """Adds what one process counted. `worker`: a name that no other process ever has."""

    def __init__(self, lines: Lines, worker: str, prefix: str = "gw:") -> None:
        self._lines = lines
        self._worker = worker
        self._prefix = prefix

    async def add(self, counted: Mapping[Bucket, Mapping[str, Counts]], number: int) -> NotAdded:
        """What could not be added, or may have been."""
        outcomes = await asyncio.gather(
            *(self._add(bucket, names, number) for bucket, names in counted.items())
        )
        told = list(zip(counted, outcomes, strict=True))
        return NotAdded(
            tuple(bucket for bucket, outcome in told if outcome is _Outcome.UNSURE),
            tuple(bucket for bucket, outcome in told if outcome is _Outcome.LOST),
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
    """Reads what all processes counted. StoreError where Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str = "gw:") -> None:
        self._client = client
        self._prefix = prefix

    async def read(
        self, buckets: Sequence[Bucket], *, whole: bool = False
    ) -> list[dict[str, Counts]]:
        """By name, for each bucket in turn; empty: nothing was counted, or it is kept no more.
        One that holds something else is passed over, unless all is to be `whole`."""
        names = [_name(self._prefix, bucket) for bucket in buckets]
        answers = await ask_all(self._client, [("HGETALL", name) for name in names])
        if whole:
            found = list(map(as_answer, answers))
        else:
            found = [value_or_told(*one) or {} for one in zip(names, answers, strict=True)]
        return [_named(answer) async for answer in in_turns(found, IN_ONE_TURN)]


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
