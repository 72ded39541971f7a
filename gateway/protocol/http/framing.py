"""What the bytes of requests show, and the parser below does not tell."""

from collections.abc import Mapping
from typing import Protocol

from gateway.protocol.http.chunks import ChunkScanner

HEAD_END = b"\r\n\r\n"
# Of a Content-Length: no body is longer, and int() raises where thousands of zeros stand in front.
MOST_DIGITS = 18


class Version(Protocol):
    @property
    def minor(self) -> int: ...


class Message(Protocol):
    """A head as the parser tells it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def version(self) -> Version: ...
    @property
    def chunked(self) -> bool: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Framing:
    """Follows the requests of one connection beside their parser, byte for byte.

    `more_held`: whether the parser may hold what came after the request that is being answered.
    `afresh`: whether what is received begins where the parser's last request ended. `head_size`:
    bytes of a head that is not whole yet.
    """

    __slots__ = ("_chunks", "_line_read", "_parts", "afresh", "head_size", "more_held")

    def __init__(self) -> None:
        self.more_held = False
        self.afresh = True
        self.head_size = 0
        self._parts: list[bytes] = []
        self._line_read = False
        self._chunks: ChunkScanner | None = None

    @property
    def in_chunks(self) -> bool:
        """Whether the end of a chunked body is being looked for."""
        return self._chunks is not None

    def next(self) -> None:
        """One request is over, and the next one begins."""
        self.head_size = 0
        self._parts.clear()
        self._line_read = False
        self._chunks = None

    def part(self, data: bytes) -> None:
        """`data` is a part of a head that is not whole yet."""
        self.head_size += len(data)
        self._parts.append(data)
        self._line_read = self._line_read or b"\n" in data.lstrip(b"\r\n")

    def so_far(self, data: bytes = b"") -> bytes:
        """Of a head that is not whole, with `data` behind it."""
        return b"".join([*self._parts, data])

    def is_in_headers(self, data: bytes, max_line: int) -> bool:
        """Whether what is wrong in `data` is behind the request line."""
        return self._line_read or b"\n" in data.lstrip(b"\r\n")[:max_line]

    def head(self, message: Message, data: bytes, *, ended: bool) -> bytes | None:
        """What was received since the request began, where `data` made its head whole; None if
        its line is malformed. `ended`: its body has come too, or there is none."""
        parts = self._parts
        received = (b"".join([*parts, data]) if parts else data).lstrip(b"\r\n")
        # Else the parser may have held its beginning, and an empty line in what came is any one.
        fresh = not self.more_held or received.startswith(_line(message))
        self.more_held = not (
            fresh
            and ended
            and not message.chunked
            and is_one_request(received, message.headers.get("Content-Length"))
        )
        return received if not fresh or has_single_blanks(received) else None

    def chunks(self, received: bytes, begin: Message | None = None) -> bool | None:
        """Whether another request may follow a chunked one: not where it cannot be excluded that
        the parser takes something of the one for a part of the other. None: its end is not there.

        `begin`: of this one, whose head is in `received`. ValueError where a size is malformed.
        """
        body = 0
        if begin is not None:
            body = received.find(HEAD_END) + len(HEAD_END)
            if not self.afresh or not received.startswith(_line(begin)) or body < len(HEAD_END):
                return False
            self._chunks = ChunkScanner()
        if self._chunks is None:
            return False
        clean = self._chunks.feed(received, body)
        if clean is not None:
            self._chunks = None
        return clean


def has_single_blanks(received: bytes) -> bool:
    """RFC 9112 section 3: one blank each in a request line. The parser takes more, and other
    readers do not."""
    return received.count(b" ", 0, received.find(b"\r\n")) == 2


def is_one_request(received: bytes, length: str | None) -> bool:
    """Whether `received` is a head, a body of the `length` that it tells, and nothing else."""
    body = len(received) - received.find(HEAD_END) - len(HEAD_END)
    if length is None:
        return not body
    return len(length) <= MOST_DIGITS and body == int(length)


def _line(message: Message) -> bytes:
    """The request line as it must have stood there."""
    line = f"{message.method} {message.path} HTTP/1.{message.version.minor}\r\n"
    return line.encode("utf-8", "surrogateescape")
