"""Answers of the gateway's own, as data and as bytes."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from gateway.protocol.http.answer import REASONS


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers`: without Content-Length and Connection, which `encode` adds. `denied`: the code
    with which the request was refused, if it was."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    denied: str = ""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose body comes piece by piece; a StoreError cuts it, so that it looks cut."""

    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: AsyncGenerator[bytes, None]


def encode_head(streamed: Streamed, *, chunked: bool, keep_alive: bool) -> bytes:
    """Return the head; not `chunked`: the body ends with the connection."""
    framing = [("Transfer-Encoding", "chunked")] if chunked else []
    return _head(streamed.status, [*streamed.headers, *framing], keep_alive=keep_alive)


def encode(reply: Reply, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return the bytes of a whole answer; `with_body` False: to a HEAD request."""
    # RFC 9110 section 8.6: no Content-Length where there can be no body.
    framing = [("Content-Length", str(len(reply.body)))] if reply.status != 204 else []
    head = _head(reply.status, [*reply.headers, *framing], keep_alive=keep_alive)
    return head + reply.body if with_body else head


def _head(status: int, headers: Iterable[tuple[str, str]], *, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("ascii")
