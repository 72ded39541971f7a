"""The admission script: its commands, packed once, and its replies."""

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

# Commands that every connection for admissions must send first.
PREPARE = (pack("SCRIPT", "LOAD", _SCRIPT),)

COMPARED = (
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
_READ = (*COMPARED, "tag", "previous_tag")

_STALE, _ADMITTED, _EXCEEDED, _ADMITTED_BEYOND = 0, 1, 2, 3

# The script has the same number. The leases of a worker that dies expire after this time.
LEASE_SECONDS = 30
_RENEW, _ = source("renew")

# The script's errors that are about counters; nothing else that it reads causes them.
_NO_COUNTER = frozenset({"COUNTER", "WRONGTYPE"})

# In place of a slot to touch: check every limit and charge none.
CHARGE_NOTHING = "?"


class CounterError(StoreError):
    """Something other than a counter is stored under a counter's name; `str()` says what to do
    about it, for the operator's log only."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The cached record is outdated: the record as it is at `now` (Unix seconds by Redis'
    clock)."""

    record: KeyRecord
    now: float


@fact
class Charged:
    """Every enforced limit passed. `states`: remaining and seconds to reset, for each enforced
    limit in order. `exceeded`: from 1, the limit that would refuse if it were enforced; 0: none."""

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
    """A place among the requests in progress; `names` of the sets that hold it."""

    id: str
    names: tuple[str, ...]


class Lines(Protocol):
    """The connections to the Redis nodes that hold the keys."""

    def call(self, command: bytes, key_id: str) -> Awaitable[Any]:
        """Return the reply to a packed command; StoreError, of which ReplyError is one."""

    async def repeat(self, error: ReplyError, command: bytes, key_id: str) -> Any:
        """Send a command again that was refused with `error`, if the error proves that nothing ran;
        otherwise raise `error`. `command` has to include what the server may have forgotten."""

    def post(self, command: bytes, key_id: str) -> None:
        """Send a command and ignore its reply."""

    def flush(self, key_id: str) -> None:
        """Write to this key's server what waits for the end of this loop turn."""

    async def ping(self) -> None:
        """StoreError unless Redis answers in time."""

    async def close(self) -> None: ...


class Admission:
    """The hot path's access to Redis: one script, one round trip for each request."""

    def __init__(self, lines: Lines, prefix: str) -> None:
        self._prefix = prefix
        self._lines = lines
        # Looked up once here, and not for each request.
        self._call = lines.call

    def pack_read(self, key_id: str) -> bytes:
        """Return the packed command that only reads a record."""
        return self._pack([f"{self._prefix}key:{{{key_id}}}"], [])

    def pack_charge(
        self,
        record: KeyRecord,
        limits: tuple[NamedLimit, ...],
        *,
        valid_until: int,
        touch: str = "",
    ) -> bytes:
        """Return the packed command that charges `limits` if Redis still holds `record`.

        `valid_until`: Unix second from which the presented secret is dead, 0: never. `touch`: the
        slot of `gw:used` to mark, or the empty string, or CHARGE_NOTHING. If there is a concurrency
        limit, a lease id must be appended with `with_lease`.
        """
        tail = f"{{{record.id}}}"
        keys = [f"{self._prefix}key:{tail}", f"{self._prefix}used:{tail}"]
        arguments: list[str] = [getattr(record, name) for name in COMPARED]
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
            # An empty argument in the lease's position, so that the script need not count.
            arguments += () if leases else ("",)
        if not leases:
            return self._pack(keys, arguments)
        return self._pack([*keys, *leases], arguments, more=1)

    async def count_tokens(
        self, key_id: str, limits: tuple[NamedLimit, ...], amount: int, request_id: str
    ) -> None:
        """Add the tokens that a call took to the counters of `limits`, each of Tokens. A repeat
        with the same `request_id` within ten minutes adds nothing. StoreError: it may not have
        run."""
        quota = f"{self._prefix}quota:{{{key_id}}}:"
        names = [f"{quota}counted:{request_id}", *(quota + named.counter for named in limits)]
        windows = [one.limit.window.value for one in limits if isinstance(one.limit, Tokens)]
        command = self._pack(names, ["+", str(amount), *windows])
        try:
            await self._call(command, key_id)
        except ReplyError as error:
            await self._lines.repeat(error, _with_body(command), key_id)

    def lease_names(self, key_id: str, limits: tuple[NamedLimit, ...]) -> tuple[str, ...]:
        """Return the sets that hold the leases of a call under `limits`, in their order."""
        whole = f"{self._prefix}lease:{{{key_id}}}"
        return tuple(
            f"{whole}:{named.counter}" if named.counter else whole
            for named in limits
            if isinstance(named.limit, Concurrency)
        )

    def release(self, lease: Lease) -> None:
        """End a lease without waiting for Redis. If Redis is away, the lease expires by itself.

        Call it before the end of the answer is written: the caller may send its next request at
        once, through another worker.
        """
        for name in lease.names:
            self._lines.post(pack("ZREM", name, lease.id), _id_in(name))
        self._lines.flush(_id_in(lease.names[0]))

    def renew(self, lease: Lease) -> None:
        """Extend a lease that has not expired by LEASE_SECONDS."""
        names, milliseconds = lease.names, LEASE_SECONDS * 1000
        command = pack("EVAL", _RENEW, len(names), *names, lease.id, milliseconds)
        self._lines.post(command, _id_in(names[0]))

    async def run(self, key_id: str, command: bytes) -> Answer:
        """Run a packed command for this key. CounterError if something else is stored under one of
        its counters' names; another StoreError if it is unknown whether the command ran."""
        try:
            reply = await self._call(command, key_id)
        except ReplyError as error:
            if error.kind in _NO_COUNTER:
                raise CounterError(self._no_counter(error, key_id)) from None
            # Include the script's body: another node, or one that was flushed, may not know it.
            reply = await self._lines.repeat(error, _with_body(command), key_id)
        return _read(reply, key_id)

    def _no_counter(self, error: ReplyError, key_id: str) -> str:
        if error.kind == "WRONGTYPE":
            names = f"{self._prefix}rate:, quota: and lease:{{{key_id}}}"
            return f"Of {names}, one is of another type than a counter: delete it."
        # Redis appends where in the script the error was raised.
        return str(error).removeprefix("COUNTER ").partition(" script: ")[0]

    async def ping(self) -> None:
        await self._lines.ping()

    async def close(self) -> None:
        await self._lines.close()

    def _pack(self, keys: list[str], arguments: list[str], *, more: int = 0) -> bytes:
        return pack("EVALSHA", _SHA, len(keys), *keys, *arguments, more=more)


def with_lease(command: bytes, lease_id: str) -> bytes:
    """Append the argument that differs from call to call to a packed command."""
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
