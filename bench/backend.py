"""The agent behind every peer. Lean, so that it is never the bottleneck.

GET /1k: 1 KB at once. GET /big: 1 MB. GET /sse: 200 events, 5 ms apart. POST /completions: reads
and drops the body, then sends the same events. Any other POST: drops the body, then sends 1 KB.
GET /events: the number of events sent so far. GET /head: the head of the request itself.
Only the last part of a path counts. Bodies must have a length.
"""

import argparse
import asyncio
from typing import cast

import uvloop

EVENTS = 200
EVENT_GAP = 0.005
BIG = 2**20
_COMMON = b"Date: Mon, 02 Nov 2026 08:00:00 GMT\r\nServer: bench\r\n"
_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"bench","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}],'
    b'"usage":null}\n\n'
)
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_LAST_CHUNK = b"0\r\n\r\n"


def _sized(kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (kind, _COMMON, len(body)) + body


_SMALL = _sized(b"application/json", b'{"text": "' + b"x" * (1024 - 12) + b'"}')
_LARGE = _sized(b"application/octet-stream", b"x" * BIG)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    + _COMMON
    + b"Transfer-Encoding: chunked\r\n\r\n"
)


class Sent:
    """What the backend has sent on all connections."""

    events = 0


class Backend(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._body_left = 0
        self._asked = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._body_left:
            self._body_left -= len(data)
            if self._body_left <= 0:
                self._answer_post()
            return
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        self._read = b""
        self._answer(head, rest)

    def _answer(self, head: bytes, rest: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        self._asked = path.rpartition(b"/")[2]
        if method == b"POST":
            self._body_left = _length(head) - len(rest)
            if self._body_left <= 0:
                self._answer_post()
            return
        match self._asked:
            case b"sse":
                self._begin_stream()
            case b"big":
                self._transport.write(_LARGE)
            case b"events":
                self._transport.write(_sized(b"text/plain", b"%d" % self._sent.events))
            case b"head":
                self._transport.write(_sized(b"text/plain", head))
            case _:
                self._transport.write(_SMALL)

    def _answer_post(self) -> None:
        if self._asked == b"completions":
            self._begin_stream()
        else:
            self._transport.write(_SMALL)

    def _begin_stream(self) -> None:
        self._transport.write(_STREAM_HEAD)
        self._stream(EVENTS)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._sent.events += 1
        self._transport.write(_CHUNK if left > 1 else _CHUNK + _LAST_CHUNK)
        if left > 1:
            self._loop.call_later(EVENT_GAP, self._stream, left - 1)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("the bench sends only bodies with a length")


async def _serve(port: int) -> None:
    sent = Sent()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Backend(sent), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    uvloop.run(_serve(parser.parse_args().port))
