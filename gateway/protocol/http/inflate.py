"""Decompress bodies in pieces of bounded size."""

import zlib

# zlib's `wbits` for each coding: gzip has a header of its own, deflate has zlib's.
_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
PIECE = 2**16


def inflater(coding: bytes) -> "Inflater | None":
    """Return what undoes `coding`; None if the coding is not supported."""
    bits = _WINDOWS.get(coding.strip().lower())
    return None if bits is None else Inflater(bits)


class Inflater:
    """`feed` received bytes, then `take` until it returns nothing; zlib.error: it is broken."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inside = zlib.decompressobj(bits)
        self._waiting = b""
        self._begun = False

    @property
    def whole(self) -> bool:
        """Whether the body may end here."""
        return not self._waiting and (self._inside.eof or not self._begun)

    def feed(self, piece: bytes) -> None:
        self._waiting += piece

    def take(self) -> bytes:
        """Return the next PIECE bytes at most: a small body may stand for an endless one."""
        while self._waiting:
            if self._inside.eof:
                # RFC 1952 section 2.2: one member may follow another.
                self._inside = zlib.decompressobj(self._bits)
            self._begun = True
            inside = self._inside
            text = inside.decompress(self._waiting, PIECE)
            self._waiting = inside.unused_data if inside.eof else inside.unconsumed_tail
            if text:
                return text
        return b""
