"""The admission script's commands and answers, packed once and read back as data."""

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from gateway.domain.errors import StoreError
from gateway.domain.facts import fact
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.limits import Concurrency, Quota, Rate, Tokens
from gateway.domain.keys.record import KeyRecord
from gateway.store.commands import source
from gateway.store.connections.line import ReplyError, pack

_SCRIPT = files("gateway.store").joinpath("admit.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()

# What every connection that an admission uses has to begin with.
PREPARE = (pack("SCRIPT", "LOAD", _SCRIPT),)

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

_STALE, _ADMITTED, _EXCEEDED, _ADMITTED_BEYOND = 0, 1, 2, 3

# The script has the same number; a worker that dies gives its places back after so long.
LEASE_SECONDS = 30
_RENEW, _ = source("renew")

# Of the script's errors, those of counters: nothing else that it looks at ends it so.
_NO_COUNTER = frozenset({"COUNTER", "WRONGTYPE"})

# In place of a slot to touch: check every limit and charge none.
CHARGE_NOTHING = "?"


class CounterError(StoreError):
    """Something else stands where a key's counter should; `str()` says what to do about it, for
    the operator's log only."""


@dataclass(frozen=True, slots=True)
class Stale:
    """What was believed is no longer so: the record as it is at `now` (Unix seconds, Redis')."""

    record: KeyRecord
    now: float


@fact
class Charged:
    """Every limit that is enforced passed. `states`: remaining and seconds to reset, for each of
    these in order. `exceeded`: from 1, the limit that would refuse if it were enforced; 0: none."""

    states: tuple[int, ...]
    exceeded: int = 0


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Nothing was charged. `position`: from 1, the limit that takes longest to pass."""

    retry_after: int
    position: int
    states: tuple[int, ...]


Answer = Stale | Charged | Exceeded


@dataclass(frozen=True, slots=True)
class Lease:
    """A place among the requests under way; `names` of the sets that it is in."""

    id: str
    names: tuple[str, ...]


class Lines(Protocol):
    """The way to the Redis node that holds a key."""

    def call(self, command: bytes, key_id: str) -> Awaitable[Any]:
        """The reply to a packed command; StoreError, of which ReplyError is one."""

    async def repeat(self, error: ReplyError, command: bytes, key_id: str) -> Any:
        """The reply to a command that was refused with `error`, if that proves that nothing ran;
        otherwise `error`. `command` has to bring along what the server may have forgotten."""

    def post(self, command: bytes, key_id: str) -> None:
        """Send a command whose reply is of no interest to anybody."""

    def flush(self, key_id: str) -> None:
        """Write what waits for the end of this turn, to the server that has this key."""

    async def ping(self) -> None:
        """StoreError unless Redis answers in time."""

    async def close(self) -> None: ...


class Admission:
    """The hot path's side of Redis: one script, one round trip a call."""

    def __init__(self, lines: Lines, prefix: str = "gw:") -> None:
        self._prefix = prefix
        self._lines = lines
        # Looked up once, not once a request.
        self._call = lines.call

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
        slot of `gw:used` to mark, or the empty string, or CHARGE_NOTHING. Where a concurrency is
        among the limits, the id of a lease has to be put behind it, by `with_lease`.
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
            elif isinstance(limit, Quota):
                keys.append(f"{self._prefix}quota:{tail}:{named.counter}")
                arguments += [limit.window.value, str(limit.count), ""]
            elif isinstance(limit, Tokens):
                keys.append(f"{self._prefix}quota:{tail}:{named.counter}")
                arguments += ["tokens", str(limit.count), limit.window.value]
            else:
                arguments += ["lease", str(limit.count), ""]
        leases = self.lease_names(record.id, limits)
        if not all(named.enforced for named in limits):
            arguments.append("".join("e" if named.enforced else "~" for named in limits))
            # Where it would be looked for, so that nothing has to be counted.
            arguments += () if leases else ("",)
        if not leases:
            return self._pack(keys, arguments)
        return self._pack([*keys, *leases], arguments, more=1)

    async def count_tokens(
        self, key_id: str, limits: tuple[NamedLimit, ...], amount: int, request_id: str
    ) -> None:
        """Add what a call took to the counters of `limits`, each of Tokens; asked for again with
        the same `request_id` within ten minutes, nothing. StoreError: it may not have run."""
        quota = f"{self._prefix}quota:{{{key_id}}}:"
        names = [f"{quota}counted:{request_id}", *(quota + named.counter for named in limits)]
        windows = [one.limit.window.value for one in limits if isinstance(one.limit, Tokens)]
        command = self._pack(names, ["+", str(amount), *windows])
        try:
            await self._call(command, key_id)
        except ReplyError as error:
            await self._lines.repeat(error, _with_body(command), key_id)

    def lease_names(self, key_id: str, limits: tuple[NamedLimit, ...]) -> tuple[str, ...]:
        """The sets in which a call under `limits` takes a place, in the order of the limits."""
        whole = f"{self._prefix}lease:{{{key_id}}}"
        return tuple(
            f"{whole}:{named.counter}" if named.counter else whole
            for named in limits
            if isinstance(named.limit, Concurrency)
        )

    def give_back(self, lease: Lease) -> None:
        """End a lease. Nobody waits for it: where Redis is away it runs out by itself.

        Before the end of the answer is written: its caller may ask for the next one elsewhere.
        """
        for name in lease.names:
            self._lines.post(pack("ZREM", name, lease.id), _id_in(name))
        self._lines.flush(_id_in(lease.names[0]))

    def renew(self, lease: Lease) -> None:
        """Let a lease that has not run out last for another LEASE_SECONDS."""
        names, milliseconds = lease.names, LEASE_SECONDS * 1000
        command = pack("EVAL", _RENEW, len(names), *names, lease.id, milliseconds)
        self._lines.post(command, _id_in(names[0]))

    async def run(self, key_id: str, command: bytes) -> Answer:
        """Run a packed command for this key; CounterError if one of its counters is none, another
        StoreError if it cannot be known whether it ran."""
        try:
            reply = await self._call(command, key_id)
        except ReplyError as error:
            if error.kind in _NO_COUNTER:
                raise CounterError(self._no_counter(error, key_id)) from None
            # The body goes along: another node, or one that was flushed, may not know it.
            reply = await self._lines.repeat(error, _with_body(command), key_id)
        return _read(reply, key_id)

    def _no_counter(self, error: ReplyError, key_id: str) -> str:
        if error.kind == "WRONGTYPE":
            names = f"{self._prefix}rate:, quota: and lease:{{{key_id}}}"
            return f"Of {names}, one is of another type than a counter: delete it."
        return str(error)

    async def ping(self) -> None:
        """StoreError unless Redis answers in time."""
        await self._lines.ping()

    async def close(self) -> None:
        await self._lines.close()

    def _pack(self, keys: list[str], arguments: list[str], *, more: int = 0) -> bytes:
        return pack("EVALSHA", _SHA, len(keys), *keys, *arguments, more=more)


def with_lease(command: bytes, lease_id: str) -> bytes:
    """A packed command with the argument that differs from call to call."""
    return b"%b$%d\r\n%b\r\n" % (command, len(lease_id), lease_id.encode())


def _id_in(name: str) -> str:
    return name.partition("{")[2].partition("}")[0]


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
    if kind == _ADMITTED_BEYOND:
        return Charged(tuple(reply[2:]), reply[1])
    if kind == _EXCEEDED:
        return Exceeded(reply[1], reply[2], tuple(reply[3:]))
    raise StoreError("Redis answered something that the admission script never says.")
