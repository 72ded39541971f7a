"""The admission script's commands and answers, packed once and read back as data."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Connection

from gateway.domain.errors import StoreError
from gateway.domain.judgement import NamedLimit
from gateway.domain.limits import Rate
from gateway.domain.records import KeyRecord
from gateway.store.multiplex import Multiplexer, ReplyError, pack

_SCRIPT = files("gateway.store").joinpath("admit.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()

BELIEVED = (
    "hash",
    "status",
    "consumer",
    "scopes",
    "plan",
    "limits",
    "users",
    "expires_at",
    "previous_hash",
    "previous_expires_at",
)
_READ = (*BELIEVED, "tag", "previous_tag")

_STALE, _ADMITTED = 0, 1

# In place of a slot to touch: check every limit and charge none.
CHARGE_NOTHING = "?"


@dataclass(frozen=True, slots=True)
class Stale:
    """What was believed is no longer so: the record as it is at `now` (Unix seconds, Redis')."""

    record: KeyRecord
    now: float


@dataclass(frozen=True, slots=True)
class Charged:
    """Every limit passed. `states`: remaining and seconds to reset, for each limit in order."""

    states: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Nothing was charged. `position`: from 1, the limit that takes longest to pass."""

    retry_after: int
    position: int
    states: tuple[int, ...]


Answer = Stale | Charged | Exceeded


class Admission:
    """The hot path's side of Redis: one script, one round trip a call."""

    def __init__(
        self, connect: Callable[[], Connection], *, prefix: str = "gw:", timeout: float
    ) -> None:
        self._prefix = prefix
        self._line = Multiplexer(
            connect, timeout=timeout, prepare=(pack("SCRIPT", "LOAD", _SCRIPT),)
        )

    def pack_read(self, key_id: str) -> bytes:
        """The command that only reads a record."""
        return self._pack([f"{self._prefix}key:{{{key_id}}}"], [])

    def pack_charge(
        self,
        record: KeyRecord,
        limits: tuple[NamedLimit, ...],
        *,
        valid_until: int,
        touch: str = "",
    ) -> bytes:
        """The command that charges `limits` if `record` is still what Redis holds.

        `valid_until`: Unix second from which the secret in hand is dead, 0: never. `touch`: the
        slot of `gw:used` to mark, or the empty string, or CHARGE_NOTHING.
        """
        tail = f"{{{record.id}}}"
        keys = [f"{self._prefix}key:{tail}", f"{self._prefix}used:{tail}"]
        arguments: list[str] = [getattr(record, name) for name in BELIEVED]
        arguments += [str(valid_until), touch]
        for named in limits:
            limit = named.limit
            if isinstance(limit, Rate):
                keys.append(f"{self._prefix}rate:{tail}:{named.counter}")
                arguments += ["rate", repr(limit.interval_us), str(named.burst)]
            else:
                keys.append(f"{self._prefix}quota:{tail}:{named.counter}")
                arguments += [limit.window.value, str(limit.count), ""]
        return self._pack(keys, arguments)

    async def run(self, key_id: str, command: bytes) -> Answer:
        """Run a packed command for this key; StoreError if it cannot be known whether it ran."""
        try:
            reply = await self._line.call(command)
        except ReplyError as error:
            if error.kind != "NOSCRIPT":
                raise
            # Nothing ran, so it may run now: the body goes along once and is known again.
            reply = await self._line.call(_with_body(command))
        return _read(reply, key_id)

    async def ping(self) -> None:
        """StoreError unless Redis answers in time."""
        await self._line.call(pack("PING"))

    async def close(self) -> None:
        await self._line.close()

    def _pack(self, keys: list[str], arguments: list[str]) -> bytes:
        return pack("EVALSHA", _SHA, len(keys), *keys, *arguments)


def _with_body(command: bytes) -> bytes:
    head = b"$7\r\nEVALSHA\r\n" + b"$40\r\n" + _SHA.encode() + b"\r\n"
    body = b"$4\r\nEVAL\r\n" + b"$%d\r\n%b\r\n" % (len(_SCRIPT), _SCRIPT)
    return command.replace(head, body, 1)


def _read(reply: Any, key_id: str) -> Answer:
    kind = reply[0]
    if kind == _ADMITTED:
        return Charged(tuple(reply[1:]))
    if kind == _STALE:
        values = [value.decode("utf-8", "surrogateescape") for value in reply[3:]]
        record = KeyRecord(key_id, **dict(zip(_READ, values, strict=True)))
        return Stale(record, reply[1] + reply[2] / 1e6)
    if kind == 2:
        return Exceeded(reply[1], reply[2], tuple(reply[3:]))
    raise StoreError("Redis answered something that the admission script never says.")
