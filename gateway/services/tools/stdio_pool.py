"""The running stdio servers: one for each tool server, key and user, while it is used."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.children.process import Launcher
from gateway.domain.backoff import pause_after
from gateway.domain.children import Program
from gateway.domain.errors import Code, Denied, OperationError
from gateway.domain.policies.snapshot import Timeouts
from gateway.domain.policies.tools import Toolset, program_owner
from gateway.log import log
from gateway.protocol.secrets import Secrets
from gateway.services.tools.program_slots import ProgramSlots
from gateway.services.tools.stdio_server import StdioServer
from gateway.tasks import Tasks

LOOK_SECONDS = 0.5
# A server that crashed is restarted: at once, then after twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# A server that ran this long does not count as crashing again and again.
PROVEN_SECONDS = 60.0


class PoolKey(NamedTuple):
    """The owner of a running server: nobody else's calls go to it. `stateless`: it is spoken to in
    an MCP revision without a handshake; a server derives the revision from its first request."""

    server: str
    key_id: str
    user: str
    stateless: bool


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What has to run for a key; a server that was started differently is replaced. `credentials`:
    the names of those that it was given."""

    tools: Toolset
    env: Mapping[str, str] = field(repr=False)
    credentials: tuple[str, ...] = field(default=(), compare=False)


class _Entry:
    """The server of one key, if one runs, and how often it has crashed."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.server: StdioServer | None = None
        self.spec: ServerSpec | None = None
        self.started_at = 0.0
        self.crashes = 0
        self.not_before = 0.0


class StdioPool:
    """Lives as long as the process; `watch` runs beside it, `close` ends all servers. `is_known`:
    whether there is a credential of that name."""

    def __init__(
        self,
        launcher: Launcher,
        slots: ProgramSlots,
        clock: Callable[[], float],
        is_known: Callable[[str], bool],
    ) -> None:
        self._launcher = launcher
        self._slots = slots
        self._clock = clock
        self._is_known = is_known
        self._entries: dict[PoolKey, _Entry] = {}
        self._running: set[StdioServer] = set()
        self._beside = Tasks()
        self._is_closed = False
        slots.make_room = self._make_room

    async def server(self, key: PoolKey, spec: ServerSpec, secrets: Secrets) -> StdioServer:
        """Return the server of `key`, started if need be; Denied if it cannot be had."""
        entry = self._entries.setdefault(key, _Entry())
        async with entry.lock:
            self._check_open()
            server = entry.server
            if server is not None and _serves(server) and entry.spec == spec:
                server.idle_since = asyncio.get_running_loop().time()
                return server
            if server is not None:
                self._detach(entry, server)
            self._check_pause(entry)
            entry.spec, entry.started_at = spec, self._clock()
            entry.server = await self._start(key, entry, spec, secrets)
            return entry.server

    def _detach(self, entry: _Entry, server: StdioServer) -> None:
        """Remove a server from its entry that has ended, hangs or is outdated."""
        entry.server = None
        if not server.is_open:
            self._count_crash(entry)
            return
        if server.hangs:
            log.warning("tool_hangs", tool=server.name)
        self._beside.begin(server.retire())

    def _count_crash(self, entry: _Entry) -> None:
        if self._clock() - entry.started_at > PROVEN_SECONDS:
            entry.crashes = 0
        pause = pause_after(entry.crashes, FIRST_PAUSE, LONGEST_PAUSE)
        entry.not_before = self._clock() + pause
        entry.crashes += 1

    def _check_pause(self, entry: _Entry) -> None:
        left = entry.not_before - self._clock()
        if left > 0:
            raise Denied(
                Code.UPSTREAM_UNREACHABLE,
                "The tool's program has ended again and again. Try again later.",
                retry_after=int(left) + 1,
            )

    async def _start(
        self, key: PoolKey, entry: _Entry, spec: ServerSpec, secrets: Secrets
    ) -> StdioServer:
        terms = spec.tools.program
        program = Program(
            spec.tools.command,
            program_owner(key.server, key.user, key.key_id),
            spec.env,
            terms.limits,
            terms.readable,
            spec.tools.command,
            longest_line=max(2**22, 2 * terms.output),
        )
        await self._slots.acquire()
        try:
            child = await self._launcher.start(program)
        except BaseException as problem:
            self._slots.release()
            if not isinstance(problem, OperationError):
                raise
            self._count_crash(entry)
            log.warning("tool_not_started", tool=key.server, reason=str(problem))
            raise Denied(
                Code.UPSTREAM_UNREACHABLE,
                "The tool's program cannot be started. Ask the gateway's operator to see the log.",
            ) from None
        server = StdioServer(key.server, child, secrets, terms.output)
        self._watch_end(server)
        if self._is_closed:
            server.kill()
            self._check_open()
        log.info("tool_started", tool=key.server, user=key.user, key_id=key.key_id)
        if not key.stateless:
            await self._greet(entry, server, terms.start)
        return server

    async def _greet(self, entry: _Entry, server: StdioServer, patience: float) -> None:
        try:
            await server.greet(Timeouts(first_byte=patience, idle=patience))
        except BaseException as problem:
            # It is none if nobody waits for the program any more.
            if isinstance(problem, Denied):
                self._count_crash(entry)
            server.kill()
            raise

    def _watch_end(self, server: StdioServer) -> None:
        """Release its slot once it is gone."""

        async def gone() -> None:
            await server.ended()
            self._running.discard(server)
            self._slots.release()

        self._running.add(server)
        self._beside.begin(gone())

    def running(self) -> dict[str, int]:
        """Return how many programs there are of each server."""
        return dict(Counter(server.name for server in self._running))

    async def watch(self) -> None:
        """End servers that are idle for long or hold a credential that is gone, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for key, entry in list(self._entries.items()):
                server = entry.server
                if entry.lock.locked():
                    continue
                if server is None:
                    if self._clock() > entry.not_before + LONGEST_PAUSE:
                        del self._entries[key]
                elif not _serves(server) or self._holds_removed_credential(entry):
                    self._detach(entry, server)
                elif not server.under_way and now - server.idle_since > _idle(entry):
                    entry.server = None
                    self._beside.begin(server.close())

    def _holds_removed_credential(self, entry: _Entry) -> bool:
        return entry.spec is not None and not all(map(self._is_known, entry.spec.credentials))

    async def _make_room(self) -> bool:
        """End the server that has been idle longest."""
        idle = [
            (entry.server.idle_since, entry)
            for entry in self._entries.values()
            if entry.server is not None and not entry.server.under_way and not entry.lock.locked()
        ]
        if not idle:
            return False
        _, entry = min(idle, key=lambda one: one[0])
        server, entry.server = entry.server, None
        assert server is not None  # noqa: S101 (it was looked at)
        try:
            # Not as a task: until its first turn the server would take calls.
            await server.close()
        except asyncio.CancelledError:
            # Whoever needs the room has left, and the program has to end all the same.
            self._beside.begin(server.close())
            raise
        # Its slot is released by the task that watches for its end.
        await asyncio.sleep(0)
        return True

    def _check_open(self) -> None:
        if self._is_closed:
            raise Denied(Code.BUSY, "The gateway is ending. Try again in a second.", retry_after=1)

    async def close(self) -> None:
        """End all servers, including those in use or starting; nothing starts any more."""
        self._is_closed = True
        await asyncio.gather(*(server.close() for server in self._running))
        for entry in list(self._entries.values()):
            # Whoever holds the lock is starting a program, will find the pool closed, and ends it.
            async with entry.lock:
                entry.server = None
        await asyncio.gather(*self._beside)


def _serves(server: StdioServer) -> bool:
    return server.is_open and not server.hangs


def _idle(entry: _Entry) -> float:
    return entry.spec.tools.program.idle if entry.spec else 0.0
