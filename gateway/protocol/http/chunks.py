"""Write chunks, and find where a chunked request ends and whether it has trailers.

aiohttp's parser checks every byte but reports neither, and it takes the last trailer for the first
header of the next request on the connection. So no request may follow trailers.
"""

LAST_CHUNK = b"0\r\n\r\n"
_LONGEST_LINE = 100
_MOST_DIGITS = 16


def chunk(piece: bytes) -> bytes:
    """Return `piece` as one chunk of a chunked body; nothing if it is empty, since an empty chunk
    ends the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


class ChunkScanner:
    """Reads a chunked body piece by piece. Malformed chunks are refused by the parser, except sizes
    with too many digits: the parser accepts any number of leading zeros."""

    __slots__ = ("_last", "_left", "_line")

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._last = False

    def feed(self, data: bytes, at: int = 0) -> bool | None:
        """Read `data` from `at` on. Return None while the body goes on; True if it ends exactly
        with `data` and has no trailers; False otherwise: what follows on the connection cannot be
        trusted. Raise ValueError if a size has too many digits."""
        size = len(data)
        while True:
            if self._left >= size - at:
                self._left -= size - at
                return None
            at += self._left
            self._left = 0
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at : at + _LONGEST_LINE + 1]
                _check_digits(self._line, last=self._last)
                return None if len(self._line) <= _LONGEST_LINE else False
            line, self._line = self._line + data[at:end], b""
            at = end + 1
            _check_digits(line, last=self._last)
            if self._last:
                return line == b"\r" and at == size
            length = _length(line)
            if length < 0:
                return False
            self._last = not length
            self._left = length + 2 if length else 0


def _check_digits(line: bytes, *, last: bool) -> None:
    if not last and len(line.partition(b";")[0].rstrip(b" \t\r")) > _MOST_DIGITS:
        raise ValueError("A chunk's size has too many digits.")


def _length(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        return -1
