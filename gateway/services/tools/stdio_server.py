"""One MCP server that is a child process: several requests in progress on one pair of pipes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway import __version__
from gateway.children.process import Child
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import Timeouts
from gateway.log import log
from gateway.protocol.mcp.message import LATEST_HANDSHAKE
from gateway.protocol.mcp.rpc import Message
from gateway.protocol.mcp.rpc_ids import ALIVE, RpcIds, cancelled
from gateway.protocol.mcp.rpc_scrub import parsed
from gateway.protocol.secrets import Secrets
from gateway.protocol.strict_json import encode, has_too_many, is_too_deep
from gateway.services.tools.line_budget import LineBudget
from gateway.services.tools.stderr import ToolStderr
from gateway.timers import Timer, timeout

# Bytes that wait for a slow caller; notifications beyond them are dropped, responses never.
MOST_WAITING = 2**20
MOST_UNDER_WAY = 64
# How long a server may take to end by itself after its stdin was closed, and after a signal.
GRACE_SECONDS = 2.0
# Between the end of its stdout and its own end.
EXIT_SECONDS = 0.5
# How many lines that are already there are read before other work has its turn.
LINES_IN_A_ROW = 64
_LINE_TOO_LONG = (
    "The tool's program was ended: it printed a line that is longer than it may be. Ask it for "
    "less, or try again: it may have been the answer to another call."
)
_NO_MCP = "The tool's program does not speak MCP. Tell the gateway's operator."
_FULL = "This tool has too many calls under way. Try again in a second."
_LATE = "The tool did not answer in time. Try again later."
_ANSWER_TOO_LONG = "The tool's answer is longer than it may be. Ask it for less."
_GONE = "The tool's program has ended. Try again, and tell the gateway's operator if it stays so."


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What a caller is told: a message, whether it is the last one, or why there is none."""

    content: Message | Denied = field(repr=False)
    is_last: bool
    size: int


class _Inbox:
    """What the server has sent for one request and its caller has not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[_Delivery] = deque()
        self._size = 0
        self._news = asyncio.Event()

    def put(self, delivery: _Delivery) -> None:
        if delivery.is_last or self._size + delivery.size <= MOST_WAITING:
            self._waiting.append(delivery)
            self._size += delivery.size
            self._news.set()

    async def take(self) -> _Delivery:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        delivery = self._waiting.popleft()
        self._size -= delivery.size
        return delivery


class StdioServer:
    """`under_way`: the number of requests in progress; `idle_since`: the loop's time when the last
    one ended.

    `greeting`: its answer to `initialize`; empty if it was opened for a stateless revision.
    `longest`: bytes of one answer.
    """

    def __init__(self, name: str, child: Child, secrets: Secrets, longest: int) -> None:
        self.name = name
        self._child = child
        self._longest = longest
        self._ids = RpcIds()
        self._inboxes: dict[int, _Inbox] = {}
        self._stderr = ToolStderr(name, secrets)
        self._no_json = LineBudget("tool_said_no_json_cut", name)
        self._retired = False
        # Told to calls that are under way when the program ends.
        self._end = _gone()
        self._drained = asyncio.Event()
        self._drained.set()
        self._loop = asyncio.get_running_loop()
        # Strikes if it owes an answer and says nothing.
        self._silence: Timer | None = None
        # Whether it was asked something, and has said nothing for longer than a call may take.
        self.hangs = False
        self._running = asyncio.create_task(self._run())
        self.greeting: dict[str, Any] = {}
        self.idle_since = self._loop.time()

    @property
    def under_way(self) -> int:
        return len(self._inboxes)

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return not (self._retired or self._running.done())

    async def greet(self, timeouts: Timeouts) -> None:
        """Do the handshake of revisions that have one; Denied if the server does not answer it."""
        params = {
            "protocolVersion": LATEST_HANDSHAKE,
            "capabilities": {},
            "clientInfo": {"name": "agent-credential-gateway", "version": __version__},
        }
        request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        async with aclosing(self.ask(request, Secrets(), timeouts)) as said:
            async for message in said:
                found = message.get("result")
                if isinstance(found, dict):
                    self.greeting = found
        if not self.greeting:
            log.warning("tool_refused_handshake", tool=self.name)
            raise Denied(Code.UPSTREAM_PROTOCOL, _NO_MCP)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def ask(
        self, request: Message, secrets: Secrets, timeouts: Timeouts
    ) -> AsyncGenerator[Message, None]:
        """Yield what the server sends for `request`, the response last; Denied if none comes. If
        the iterator is closed earlier, the server is told that nobody waits any more."""
        if self.under_way >= MOST_UNDER_WAY:
            raise Denied(Code.BUSY, _FULL, retry_after=1)
        if self._running.done():
            raise _gone()
        self._stderr.hide(secrets)
        own, sent = self._ids.sent_as(request)
        inbox = self._inboxes[own] = _Inbox()
        self._drained.clear()
        last, has_it, patience = False, False, timeouts.first_byte
        try:
            async with timeout(patience):
                # Unread requests must not pile up, call after call.
                await self._drain()
                self._ask(sent, patience)
                has_it = True
                await self._drain()
            while not last:
                async with timeout(patience):
                    delivery = await inbox.take()
                last, patience = delivery.is_last, timeouts.idle
                if isinstance(delivery.content, Denied):
                    raise delivery.content
                yield delivery.content
        except TimeoutError:
            raise Denied(Code.UPSTREAM_TIMEOUT, _LATE) from None
        finally:
            del self._inboxes[own]
            self._ids.forget(own)
            self.idle_since = self._loop.time()
            if has_it and not last and request["method"] != "initialize":
                self._send(cancelled(own, "Nobody waits for it any more."))
                # The cancelled request has no answer that would tell whether the program hangs.
                self._ask(ALIVE, timeouts.first_byte)
            if not self._inboxes:
                self._drained.set()

    async def retire(self) -> None:
        """Take no new requests; end once those in progress have their answers."""
        self._retired = True
        await self._drained.wait()
        await self.close()

    async def ended(self) -> None:
        """Wait until it is gone, whatever ends it."""
        await asyncio.wait({self._running})

    async def close(self) -> None:
        """End it: by closing its stdin, as MCP specifies, then by a signal, then by force."""
        self._retired = True
        self._child.stdin.close()
        for end in (self._child.terminate, self._child.kill):
            await asyncio.wait({self._running}, timeout=GRACE_SECONDS)
            if self._running.done():
                break
            end()
        await asyncio.wait({self._running})

    def kill(self) -> None:
        """End it at once, if nobody can wait."""
        self._child.kill()

    def _ask(self, request: Message, patience: float) -> None:
        if self._silence is None:
            ends = self._loop.time() + patience + GRACE_SECONDS
            self._silence = Timer(self._loop, ends, self._on_silence)
        self._send(request)

    def _on_silence(self) -> None:
        self.hangs = True

    def _end_silence(self) -> None:
        self.hangs = False
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _send(self, message: Message) -> None:
        with suppress(ConnectionError, RuntimeError):
            if not self._child.stdin.is_closing():
                self._child.stdin.write(encode(message) + b"\n")

    async def _drain(self) -> None:
        """Wait until it reads. A closed pipe is reported by the end of the child."""
        with suppress(ConnectionError):
            await self._child.stdin.drain()

    async def _run(self) -> None:
        """Read until the program has ended, and clean up."""
        stderr = asyncio.create_task(self._stderr.read(self._child.stderr))
        try:
            await self._read()
        finally:
            # Without stdout it cannot answer anything.
            ending = asyncio.create_task(self._child.wait())
            if not self._retired:
                await asyncio.wait({ending}, timeout=EXIT_SECONDS)
                self._child.kill()
            code, _, _ = await asyncio.gather(ending, self._child.discard(), stderr)
            crashed = not self._retired
            for inbox in self._inboxes.values():
                inbox.put(_Delivery(self._end, is_last=True, size=0))
            self._no_json.end()
            self._end_silence()
            report = log.warning if crashed else log.info
            report("tool_ended", tool=self.name, exit_code=code, under_way=self.under_way)

    async def _read(self) -> None:
        for number in count(1):
            if number % LINES_IN_A_ROW == 0:
                await asyncio.sleep(0)
            if self._retired and not self._inboxes:
                # What is still there is for nobody.
                return
            try:
                line = await self._child.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                log.warning("tool_line_too_long", tool=self.name)
                self._end = Denied(Code.UPSTREAM_PROTOCOL, _LINE_TOO_LONG)
                return
            self._end_silence()
            self._dispatch(line)

    def _dispatch(self, line: bytes) -> None:
        message = parsed(line)
        if message is None:
            if line.strip() and self._no_json.allow(1):
                # Its content is not logged: it may be part of an answer.
                log.warning("tool_said_no_json", tool=self.name, bytes=len(line))
            return
        routed = self._ids.route(message)
        if routed.reply is not None:
            self._reply(routed.reply)
            return
        content: Message | Denied = routed.message
        if self._is_too_large(line):
            content = Denied(Code.UPSTREAM_PROTOCOL, _ANSWER_TOO_LONG)
        delivery = _Delivery(content, routed.is_last or isinstance(content, Denied), len(line))
        if routed.to is not None:
            self._inboxes[routed.to].put(delivery)
        elif routed.for_all and content is routed.message:
            for inbox in self._inboxes.values():
                inbox.put(delivery)

    def _is_too_large(self, line: bytes) -> bool:
        return len(line) > self._longest or has_too_many(line) or is_too_deep(line)

    def _reply(self, reply: Message) -> None:
        """Reply to a request of the server, unless it keeps asking and reads no reply."""
        if self._child.stdin.transport.get_write_buffer_size() < MOST_WAITING:
            self._send(reply)


def _gone() -> Denied:
    return Denied(Code.UPSTREAM_UNREACHABLE, _GONE)
