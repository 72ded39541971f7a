"""Small answers of the gateway's own, as data and as bytes."""

from dataclasses import dataclass

from gateway.protocol.answer import REASONS


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers` as (name, value); length and connection are added in `encode`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def encode(reply: Reply, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """The bytes of a whole answer; `with_body` False: to a HEAD request."""
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, '')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.status != 204:
        # RFC 9110 section 8.6: none where there can be no body.
        lines.append(f"Content-Length: {len(reply.body)}")
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head + reply.body if with_body else head
