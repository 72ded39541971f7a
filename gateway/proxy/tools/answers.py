"""The answers of a tool server over HTTP, message by message, as JSON or as events."""

import asyncio
import re
from collections.abc import Iterator
from itertools import islice

from gateway.domain.errors import Code, Denied
from gateway.protocol import strict_json
from gateway.protocol.http.event_stream import Event, EventReader, EventTooLongError
from gateway.protocol.mcp import rpc
from gateway.protocol.mcp.rpc_scrub import NoMessageError, Search, decode
from gateway.proxy.body import Body, BufferingWrapper
from gateway.proxy.large_bodies import BodyMemory
from gateway.proxy.tools.mcp_exchange import McpExchange
from gateway.proxy.tools.task_ids import seal_tasks
from gateway.proxy.upstream.connection import CutError, UpstreamConnection
from gateway.services.tools.sessions import ToolSessions

# Bytes of an answer, and of one event: either is held whole to be looked at.
LONGEST = 16 * 2**20
# Events that are looked at before other requests have their turn.
AT_ONCE = 64
# A task id under a name that is spelled otherwise is not sealed, and opens nothing.
_TASK_ID = b"taskId"
# Tells responses in events that are not parsed: before this member there are at most these two. Of
# longer beginnings the event loop would notice the time.
_BEGIN = 4_096
_RESPONSE = re.compile(
    rb'\s*\{(?:\s*"(?:jsonrpc|id)"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[^\s",{\[]+)\s*,)*'
    rb'\s*"(?:result|error)"\s*:'
)
JSON, EVENTS = b"application/json", b"text/event-stream"
_NO_ROOM = (
    "The server has answered, and too much of large answers is under way to show it. What was "
    "asked for may be done: look before you ask again."
)


async def read_all(
    connection: UpstreamConnection, body: Body, idle: float, memory: BodyMemory
) -> bytes:
    """Return the whole body; raise Denied(upstream_protocol) if it is too long or too much is held
    already, and CutError if it is cut or broken. `idle`: the longest silence in seconds."""
    read = bytearray()
    while True:
        connection.deadline.set(idle)
        piece = await body.readany()
        connection.deadline.clear()
        if not piece:
            break
        read += piece
        if len(read) > LONGEST:
            raise Denied(
                Code.UPSTREAM_PROTOCOL, "The server's answer is too long. Ask it for less."
            )
        _take(memory, len(piece))
    error = body.exception()
    if error is not None:
        raise error
    return bytes(read)


def _take(memory: BodyMemory, size: int) -> None:
    """Reserve memory. Without room it is not Denied(busy): the call was made, and must not be
    repeated."""
    try:
        memory.take(size)
    except Denied:
        raise Denied(Code.UPSTREAM_PROTOCOL, _NO_ROOM) from None


async def shown_json(text: bytes, mcp: McpExchange, sessions: ToolSessions) -> bytes:
    """Return what is shown of an answer that is one message; raise Denied(upstream_protocol) if it
    is none. An empty answer and `null` pass: some servers have nothing to say and say it so."""
    if text.strip() in (b"", b"null"):
        return text
    try:
        message = await mcp.run_large(len(text), decode, text)
        if _TASK_ID in text:
            await seal_tasks(message, sessions, mcp.owner)
        return await mcp.shown(message, len(text))
    except (NoMessageError, RecursionError):
        said = "The server answers no JSON-RPC message. Tell the gateway's operator."
        raise Denied(Code.UPSTREAM_PROTOCOL, said) from None


async def as_event(
    message: rpc.Message,
    mcp: McpExchange,
    rest: tuple[bytes, ...] = (b"event: message",),
    size: int = 0,
) -> bytes:
    """Return what is shown of `message`, as an event with the lines `rest`; raise CutError if
    nothing can be shown."""
    try:
        data = await mcp.shown(message, size)
    except RecursionError:
        raise CutError("A message of the server's has too many levels.") from None
    except Denied as denied:
        # The answer has begun, so only this message can be withheld.
        mcp.note_withheld(denied)
        error = rpc.rpc_error(denied, mcp.request_id)
        data = strict_json.encode(rpc.response(message.get("id"), error=error))
    mcp.note_passed_on(response=mcp.is_response(message))
    return Event(data, rest).encode()


class EventsBody(BufferingWrapper):
    """An event stream whose events have been looked at."""

    def __init__(self, inner: Body, mcp: McpExchange, sessions: ToolSessions) -> None:
        self._inner = inner
        self._mcp = mcp
        self._sessions = sessions
        self._reader = EventReader(LONGEST)
        self._held = 0
        self._events: Iterator[Event] = iter(())

    def read_nowait(self) -> bytes:
        """Return nothing: looking at an event takes waiting."""
        return b""

    async def readany(self) -> bytes:
        """Return the next events, empty at the end; raise CutError if the stream is cut or makes no
        sense."""
        while not self._ended:
            if self._cut is not None:
                raise self._cut
            if shown := [await self._shown(event) for event in islice(self._events, AT_ONCE)]:
                if len(shown) == AT_ONCE:
                    await asyncio.sleep(0)
                return b"".join(shown)
            piece = await self._inner.readany()
            self._ended = not piece
            self._events = self._read(piece)
        return b""

    def _read(self, text: bytes) -> Iterator[Event]:
        try:
            yield from self._reader.feed(text)
        except EventTooLongError:
            raise CutError("An event of the server's is too long.") from None
        more = self._reader.held - self._held
        try:
            self._mcp.memory.take(more)
        except Denied as denied:
            raise CutError(str(denied)) from None
        self._held += more

    async def _shown(self, event: Event) -> bytes:
        rest = tuple([await self._sealed(self._searched(line)) for line in event.rest])
        if not event.data or not (self._mcp.inspects or _TASK_ID in event.data):
            response = _RESPONSE.match(event.data or b"", 0, _BEGIN)
            self._mcp.note_passed_on(response=response is not None)
            return Event(event.data, rest).encode()
        try:
            message = await self._mcp.run_large(len(event.data), decode, event.data)
        except NoMessageError:
            # Clients do not take it for a message either.
            return Event(self._unread(event.data), rest).encode()
        if _TASK_ID in event.data:
            await seal_tasks(message, self._sessions, self._mcp.owner)
        return await as_event(message, self._mcp, rest, len(event.data))

    async def _sealed(self, line: bytes) -> bytes:
        """Return the line of an event with its id sealed: to a server, naming an event id is enough
        to be sent what follows that event."""
        name, _, value = line.partition(b":")
        if name != b"id" or not (told := value.removeprefix(b" ")) or b"\0" in told:
            return line
        sealed = await self._sessions.seal(told.decode("latin-1"), self._mcp.owner.events)
        return b"id: " + sealed.encode("ascii")

    def _unread(self, data: bytes) -> bytes:
        """Return what is shown of data that is no message: nothing if a hook had to look at it."""
        try:
            self._mcp.check_unread()
        except Denied as denied:
            self._mcp.note_withheld(denied)
            return b""
        return self._searched(data)

    def _searched(self, text: bytes) -> bytes:
        if self._mcp.known is None:
            return text
        search = Search(self._mcp.known)
        shown = search.text(text)
        self._mcp.note_reflected(search.seen)
        return shown
