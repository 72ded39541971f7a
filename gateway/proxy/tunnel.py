"""An open WebSocket: frames pass both ways until one side closes, both are silent for too long, or
one violates the protocol."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress

from gateway.domain.errors import Denied
from gateway.protocol.http.frames import (
    GOING_AWAY,
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    FrameWatcher,
    close_frame,
)
from gateway.proxy.caller import Caller
from gateway.proxy.deadline import Deadline
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.tasks import Tasks

# Time for the peers to read a close frame.
LAST_WORDS_SECONDS = 1.0
# How often it is checked whether a slow side has read what it was sent.
LOOK_SECONDS = 0.1


class Tunnel:
    """`up` watches the frames of the client, `down` those of the agent. `idle`: seconds without a
    byte in either direction after which the tunnel ends. `on_cut` is called before the close frames
    of a cut are written: a caller may connect again as soon as it reads its own."""

    def __init__(
        self,
        client: Caller,
        agent: UpstreamConnection,
        up: FrameWatcher,
        down: FrameWatcher,
        idle: float,
        on_cut: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._agent = agent
        self._up = up
        self._down = down
        self._idle = idle
        self._on_cut = on_cut
        self._over: asyncio.Future[None] = loop.create_future()
        self._deadline = Deadline(loop, self.go_away)
        self.cut = False

    async def run(self, beside: Tasks) -> None:
        """Return once both connections are closed, or were told that the tunnel ends. Where the
        agent closed first, return once the caller has read most of what was sent, as for any
        answer: the rest is done `beside`, so that a caller that keeps its end open holds no place
        of `concurrency`."""
        try:
            client, agent = self._client, self._agent
            client.go_away = self.go_away
            lost = (
                client.tunnel_to(agent, self._from_client),
                agent.tunnel_to(client, self._from_agent),
            )
            self._from_agent(agent.take_early())
            self._from_client(client.take_early())
            await asyncio.wait((*lost, self._over), return_when=asyncio.FIRST_COMPLETED)
            self._end()
            answered = lost[1].done() and not self.cut
            if answered and client.writing_paused:
                with suppress(ConnectionError):
                    await client.drain_in_time()
        except BaseException:
            self._abort()
            raise
        if answered:
            beside.begin(self._finish(lost))
        else:
            await self._finish(lost)

    async def _finish(self, lost: Iterable[asyncio.Future[None]]) -> None:
        sent = False
        try:
            sent = not self.cut and await self._all_sent(lost)
            await asyncio.wait(lost, timeout=LAST_WORDS_SECONDS)
        finally:
            if sent:
                # A reset would drop bytes that are on their way, or that still wait in the TLS
                # layer.
                self._client.close()
                self._agent.close()
            else:
                self._abort()

    def _abort(self) -> None:
        self._deadline.close()
        self._client.abort()
        self._agent.drop()

    async def _all_sent(self, lost: Iterable[asyncio.Future[None]]) -> bool:
        """Wait until both sides have read what they were sent; return whether they did in time."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._client.limits.send_idle
        while self._client.unsent or self._agent.unsent:
            if loop.time() > ends:
                return False
            await asyncio.wait(lost, timeout=LOOK_SECONDS)
        return True

    def _from_client(self, data: bytes) -> None:
        if self._over.done():
            return
        self._deadline.set(self._idle)
        self._agent.write(self._up.feed(data))
        if self._up.fault:
            self._cut(client=self._up.fault, agent=GOING_AWAY)

    def _from_agent(self, data: bytes) -> None:
        if self._over.done():
            return
        self._deadline.set(self._idle)
        self._client.write(self._down.feed(data))
        if self._down.fault:
            self._cut(client=INTERNAL_ERROR, agent=self._down.fault)

    def revoke(self, _denied: Denied) -> None:
        """End the tunnel now, because its key would be refused by now."""
        if not self._over.done():
            self._cut(client=POLICY_VIOLATION, agent=GOING_AWAY)

    def go_away(self) -> None:
        """End the tunnel now, because the gateway stops or both sides were silent for too long."""
        if not self._over.done():
            self._cut(client=GOING_AWAY, agent=GOING_AWAY)

    def _cut(self, *, client: int, agent: int) -> None:
        """Send close frames with these codes, where one can stand: within another frame it would be
        payload."""
        self.cut = True
        self._on_cut()
        if self._down.takes_close:
            self._client.write(close_frame(client))
        if self._up.takes_close:
            self._agent.write(close_frame(agent, secrets.token_bytes(4)))
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
            self._deadline.close()
            self._client.finish()
            self._agent.finish()
