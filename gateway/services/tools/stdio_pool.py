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
from gateway.services.tools.places import ToolPlaces
from gateway.services.tools.stdio_server import StdioServer
from gateway.tasks import Tasks

LOOK_SECONDS = 0.5
# A server that crashed is restarted: at once, then after twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# A server that ran this long does not count as crashing again and again.
PROVEN_SECONDS = 60.0


class Seat(NamedTuple):
    """The owner of a running server: nobody else's calls go to it. `stateless`: it is spoken to in
    an MCP revision without a handshake; a server derives the revision from its first request."""

    server: str
    key_id: str
    user: str
    stateless: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to run in a seat; a server that was started differently is replaced. `credentials`:
    the names of those that it was given."""

    tools: Toolset
    env: Mapping[str, str] = field(repr=False)
    credentials: tuple[str, ...] = field(default=(), compare=False)


class _Held:
    """A seat, and what runs in it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.server: StdioServer | None = None
        self.wanted: Wanted | None = None
        self.started_at = 0.0
        self.crashes = 0
        self.not_before = 0.0


class StdioPool:
    """Lives as long as the process; `watch` runs beside it, `close` ends all servers. `is_known`:
    whether there is a credential of that name."""

    def __init__(
        self,
        launcher: Launcher,
        places: ToolPlaces,
        clock: Callable[[], float],
        is_known: Callable[[str], bool],
    ) -> None:
        self._launcher = launcher
        self._places = places
        self._clock = clock
        self._is_known = is_known
        self._seats: dict[Seat, _Held] = {}
        self._running: set[StdioServer] = set()
        self._beside = Tasks()
        self._is_closed = False
        places.make_room = self._make_room

    async def server(self, seat: Seat, wanted: Wanted, secrets: Secrets) -> StdioServer:
        """Return the server in `seat`, started if need be; Denied if it cannot be had."""
        held = self._seats.setdefault(seat, _Held())
        async with held.lock:
            self._check_open()
            server = held.server
            if server is not None and server.is_open and held.wanted == wanted:
                server.idle_since = asyncio.get_running_loop().time()
                return server
            if server is not None:
                self._leave(held, server)
            self._check_pause(held)
            held.server = await self._start(seat, held, wanted, secrets)
            held.wanted, held.started_at = wanted, self._clock()
            return held.server

    def _leave(self, held: _Held, server: StdioServer) -> None:
        """Take a server out of its seat that has ended or is outdated."""
        held.server = None
        if server.is_open:
            self._beside.begin(server.retire())
        else:
            self._count_crash(held)

    def _count_crash(self, held: _Held) -> None:
        if self._clock() - held.started_at > PROVEN_SECONDS:
            held.crashes = 0
        pause = pause_after(held.crashes, FIRST_PAUSE, LONGEST_PAUSE)
        held.not_before = self._clock() + pause
        held.crashes += 1

    def _check_pause(self, held: _Held) -> None:
        left = held.not_before - self._clock()
        if left > 0:
            raise Denied(
                Code.UPSTREAM_UNREACHABLE,
                "The tool's program has ended again and again. Try again later.",
                retry_after=int(left) + 1,
            )

    async def _start(
        self, seat: Seat, held: _Held, wanted: Wanted, secrets: Secrets
    ) -> StdioServer:
        terms = wanted.tools.program
        program = Program(
            wanted.tools.command,
            program_owner(seat.server, seat.user, seat.key_id),
            wanted.env,
            terms.limits,
            terms.readable,
            wanted.tools.command,
            longest_line=max(2**22, 2 * terms.output),
        )
        await self._places.acquire()
        try:
            child = await self._launcher.start(program)
        except BaseException as problem:
            self._places.release()
            if not isinstance(problem, OperationError):
                raise
            self._count_crash(held)
            log.warning("tool_not_started", tool=seat.server, reason=str(problem))
            raise Denied(
                Code.UPSTREAM_UNREACHABLE, "The tool's program cannot be started."
            ) from None
        server = StdioServer(seat.server, child, secrets, terms.output)
        self._watch_end(server)
        if self._is_closed:
            server.kill()
            self._check_open()
        log.info("tool_started", tool=seat.server, user=seat.user, key_id=seat.key_id)
        if not seat.stateless:
            await self._greet(held, server, terms.start)
        return server

    async def _greet(self, held: _Held, server: StdioServer, patience: float) -> None:
        try:
            await server.greet(Timeouts(first_byte=patience, idle=patience))
        except BaseException:
            self._count_crash(held)
            server.kill()
            raise

    def _watch_end(self, server: StdioServer) -> None:
        """Free its place once it is gone."""

        async def gone() -> None:
            await server.ended()
            self._running.discard(server)
            self._places.release()

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
            for seat, held in list(self._seats.items()):
                server = held.server
                if held.lock.locked():
                    continue
                if server is None:
                    if self._clock() > held.not_before + LONGEST_PAUSE:
                        del self._seats[seat]
                elif not server.is_open or self._was_given_what_is_gone(held):
                    self._leave(held, server)
                elif not server.under_way and now - server.idle_since > _idle(held):
                    held.server = None
                    self._beside.begin(server.close())

    def _was_given_what_is_gone(self, held: _Held) -> bool:
        return held.wanted is not None and not all(map(self._is_known, held.wanted.credentials))

    async def _make_room(self) -> bool:
        """End the server that has been idle longest."""
        idle = [
            (held.server.idle_since, held)
            for held in self._seats.values()
            if held.server is not None and not held.server.under_way and not held.lock.locked()
        ]
        if not idle:
            return False
        _, held = min(idle, key=lambda one: one[0])
        server, held.server = held.server, None
        assert server is not None  # noqa: S101 (it was looked at)
        await server.close()
        # Its place is given back by the task that watches for its end.
        await asyncio.sleep(0)
        return True

    def _check_open(self) -> None:
        if self._is_closed:
            raise Denied(Code.BUSY, "The gateway is ending.", retry_after=1)

    async def close(self) -> None:
        """End all servers, including those in use or starting; nothing starts any more."""
        self._is_closed = True
        await asyncio.gather(*(server.close() for server in self._running))
        for held in list(self._seats.values()):
            # Whoever holds the lock is starting a program, will find the pool closed, and ends it.
            async with held.lock:
                held.server = None
        await asyncio.gather(*self._beside)


def _idle(held: _Held) -> float:
    return held.wanted.tools.program.idle if held.wanted else 0.0
