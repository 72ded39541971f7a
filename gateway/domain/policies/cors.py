"""Which web pages of other origins may call an agent from a browser."""

from dataclasses import dataclass

ANY_ORIGIN = b"*"


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins` as browsers spell them, or `*`; `headers` that a page may send.

    `credentials`: the browser may send cookies. `max_age`: seconds for which it may cache a
    preflight answer. `exposed`: response headers that the page may read, in addition to the
    gateway's own.
    """

    origins: frozenset[bytes]
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: float = 600.0
    exposed: tuple[str, ...] = ()

    def granted(self, origin: bytes) -> bytes:
        """Return the allowed origin to tell a page from `origin`; empty if it is not allowed."""
        if origin in self.origins:
            return origin
        return ANY_ORIGIN if origin and ANY_ORIGIN in self.origins else b""
