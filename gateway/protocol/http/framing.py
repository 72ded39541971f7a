"""What the bytes of requests show and aiohttp's parser does not report."""

from collections.abc import Mapping
from typing import Protocol

from gateway.protocol.http.chunks import ChunkScanner

HEAD_END = b"\r\n\r\n"
# Digits of a Content-Length: no body is longer, and int() raises on thousands of leading zeros.
MOST_DIGITS = 18


class Version(Protocol):
    @property
    def minor(self) -> int: ...


class Message(Protocol):
    """A head as the parser reports it."""

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


class LengthScanner:
    """Counts a body whose length is known, piece by piece, as ChunkScanner reads a chunked one."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes, at: int = 0) -> bool | None:
        self._left -= len(data) - at
        return None if self._left > 0 else not self._left


class Framing:
    """Follows the requests of one connection beside the parser, byte for byte.

    `more_held`: the parser may hold bytes behind the request that is being answered. `afresh`: the
    received bytes begin where the parser's last request ended. `head_size`: bytes of a head that is
    not complete yet.
    """

    __slots__ = ("_line_read", "_parts", "_scanner", "afresh", "head_size", "more_held")

    def __init__(self) -> None:
        self.more_held = False
        self.afresh = True
        self.head_size = 0
        self._parts: list[bytes] = []
        self._line_read = False
        self._scanner: ChunkScanner | LengthScanner | None = None

    @property
    def in_body(self) -> bool:
        """Whether a body is being read whose end is looked for."""
        return self._scanner is not None

    def next(self) -> None:
        """Begin the next request."""
        self.head_size = 0
        self._parts.clear()
        self._line_read = False
        self._scanner = None

    def part(self, data: bytes) -> None:
        """Take `data`, a part of a head that is not complete yet."""
        self.head_size += len(data)
        self._parts.append(data)
        self._line_read = self._line_read or b"\n" in data.lstrip(b"\r\n")

    def so_far(self, data: bytes = b"") -> bytes:
        """Return what was received of an incomplete head, with `data` behind it."""
        return b"".join([*self._parts, data])

    def is_in_headers(self, data: bytes, max_line: int) -> bool:
        """Whether an error in `data` is behind the request line."""
        return self._line_read or b"\n" in data.lstrip(b"\r\n")[:max_line]

    def head(self, message: Message, data: bytes, *, ended: bool) -> bytes | None:
        """Return what was received since the request began; `data` completes its head. None if the
        request line is malformed. `ended`: its body has been received too, or there is none."""
        parts = self._parts
        received = (b"".join([*parts, data]) if parts else data).lstrip(b"\r\n")
        # Otherwise the parser may have held the beginning of this request, and an empty line in
        # `received` need not be the end of its head.
        fresh = not self.more_held or received.startswith(_line(message))
        self.more_held = not (
            fresh
            and ended
            and not message.chunked
            and is_one_request(received, message.headers.get("Content-Length"))
        )
        return received if not fresh or has_single_blanks(received) else None

    def scan(self, received: bytes, begin: Message | None = None) -> bool | None:
        """Look for the end of a body. Return whether another request may follow; None: the end has
        not been received yet. It may not if the parser could take a part of this request for a part
        of the next.

        `begin`: the head of this request, which is in `received`. Raise ValueError if the size of
        a chunk is malformed.
        """
        body = 0
        if begin is not None:
            body = received.find(HEAD_END) + len(HEAD_END)
            length = begin.headers.get("Content-Length", "0")
            seen = self.afresh and received.startswith(_line(begin)) and body >= len(HEAD_END)
            if not seen or len(length) > MOST_DIGITS:
                return False
            self._scanner = ChunkScanner() if begin.chunked else LengthScanner(int(length))
        if self._scanner is None:
            return False
        clean = self._scanner.feed(received, body)
        if clean is not None:
            self._scanner = None
        return clean


def has_single_blanks(received: bytes) -> bool:
    """Whether the request line has single blanks (RFC 9112 section 3). The parser accepts more, and
    other readers do not."""
    return received.count(b" ", 0, received.find(b"\r\n")) == 2


def is_one_request(received: bytes, length: str | None) -> bool:
    """Whether `received` is a head, a body of the `length` that it announces, and nothing else."""
    body = len(received) - received.find(HEAD_END) - len(HEAD_END)
    if length is None:
        return not body
    return len(length) <= MOST_DIGITS and body == int(length)


def _line(message: Message) -> bytes:
    """Return the request line as it must have been received."""
    line = f"{message.method} {message.path} HTTP/1.{message.version.minor}\r\n"
    return line.encode("utf-8", "surrogateescape")
