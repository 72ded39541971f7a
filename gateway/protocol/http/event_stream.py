"""Server-sent events, read from pieces and written again.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_END = re.compile(rb"\r\n|\n|\r")
_MARK = b"\xef\xbb\xbf"
# Bytes of memory that a line takes beside its own.
_LINE = 40


class EventTooLongError(ValueError):
    """An event, or one of its lines, is longer than allowed."""


@dataclass(frozen=True, slots=True)
class Event:
    """`rest`: all lines but those of the data, without line ends. `data` None: there is none."""

    data: bytes | None = field(repr=False)
    rest: tuple[bytes, ...] = field(default=(), repr=False)

    def encode(self) -> bytes:
        lines = list(self.rest)
        if self.data is not None:
            lines += [b"data: " + line for line in self.data.split(b"\n")]
        return b"\n".join((*lines, b"", b""))


class EventReader:
    """Reads events from pieces that are fed in order. An event without an end is dropped, as
    clients do. `longest`: bytes of memory for one event."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._tail: list[bytes] = []
        self._lines: list[bytes] = []
        self._in_lines = 0
        self._held = 0
        self._after_cr = False
        self._mark = _MARK

    @property
    def held(self) -> int:
        """Bytes of memory that the event which has begun takes."""
        return self._held

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that end in `piece`; raise EventTooLongError if one is too long."""
        if self._after_cr and piece:
            # The CR before it was taken for a line end already.
            piece, self._after_cr = piece.removeprefix(b"\n"), False
        self._tail.append(piece)
        self._held += len(piece)
        if self._held > self._longest:
            raise EventTooLongError
        if b"\n" not in piece and b"\r" not in piece:
            return
        text = b"".join(self._tail)
        self._after_cr = text.endswith(b"\r")
        *lines, tail = _END.split(text)
        for line in lines:
            line = self._unmarked(line)
            if line.startswith(_MARK):
                # No field begins so, but written anew as the first line it would lose its mark.
                continue
            if line:
                self._lines.append(line)
                self._in_lines += len(line) + _LINE
            elif self._lines:
                yield self._event()
        self._tail = [tail]
        self._held = len(tail) + self._in_lines

    def _unmarked(self, line: bytes) -> bytes:
        """Remove the byte order mark that the first line may begin with."""
        mark, self._mark = self._mark, b""
        return line.removeprefix(mark)

    def _event(self) -> Event:
        data, rest = [], []
        for line in self._lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            else:
                rest.append(line)
        self._lines = []
        self._in_lines = 0
        return Event(b"\n".join(data) if data else None, tuple(rest))
