"""An open WebSocket: frames pass both ways until one side ends, both fall silent, or one of them
breaks the rules."""

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress

from gateway.domain.errors import Code
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

# For reading a close frame; whoever broke the rules gets no more.
LAST_WORDS_SECONDS = 1.0
# Between two looks at what a slow side has not taken yet.
LOOK_SECONDS = 0.1


class Tunnel:
    """`up` watches what the client sends, `down` what the agent sends. `idle`: seconds without a
    byte either way after which it ends."""

    def __init__(
        self,
        client: Caller,
        agent: UpstreamConnection,
        up: FrameWatcher,
        down: FrameWatcher,
        idle: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._agent = agent
        self._up = up
        self._down = down
        self._idle = idle
        self._over: asyncio.Future[None] = loop.create_future()
        self._deadline = Deadline(loop, self.go_away)
        self.cut = False

    async def run(self, beside: Tasks) -> None:
        """Returns when both connections are closed, or have been told that it ends. Where the agent
        has closed its own, it is over as any answer is, once the caller has taken most of it: what
        is left is done `beside`, and who keeps its end open keeps no place by it."""
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
                    await client.until_taken()
        except BaseException:
            self._break_off()
            raise
        if answered:
            beside.begin(self._part(lost))
        else:
            await self._part(lost)

    async def _part(self, lost: Iterable[asyncio.Future[None]]) -> None:
        sent = False
        try:
            sent = not self.cut and await self._all_sent(lost)
            await asyncio.wait(lost, timeout=LAST_WORDS_SECONDS)
        finally:
            if sent:
                # A reset would take away what is still on its way: under TLS it may wait here, too.
                self._client.close()
                self._agent.close()
            else:
                self._break_off()

    def _break_off(self) -> None:
        self._deadline.close()
        self._client.abort()
        self._agent.drop()

    async def _all_sent(self, lost: Iterable[asyncio.Future[None]]) -> bool:
        """Whether both sides took in time what there was for them. Who keeps its own end open after
        that holds nobody's place."""
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

    def revoke(self, code: Code) -> None:
        """End it now: the key that it was opened with would be refused."""
        if not self._over.done():
            self._cut(client=POLICY_VIOLATION, agent=GOING_AWAY)

    def go_away(self) -> None:
        """End it now: the gateway stops, or both sides have fallen silent."""
        if not self._over.done():
            self._cut(client=GOING_AWAY, agent=GOING_AWAY)

    def _cut(self, *, client: int, agent: int) -> None:
        """Say why it ends, where a frame can stand: inside of another one it would be payload."""
        self.cut = True
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
