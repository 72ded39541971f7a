"""Which pages of other sites may call an agent from a browser."""

from dataclasses import dataclass

ANY_ORIGIN = b"*"


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins` as browsers spell them, or `*`; `headers` that a page may send.

    `credentials`: the browser may send cookies along. `max_age`: seconds for which it may
    remember the answer to a preflight. `exposed`: headers of answers that it may read, beside the
    gateway's own.
    """

    origins: frozenset[bytes]
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: float = 600.0
    exposed: tuple[str, ...] = ()

    def granted(self, origin: bytes) -> bytes:
        """What a page from `origin` is told it was let in as; empty: it is not."""
        if origin in self.origins:
            return origin
        return ANY_ORIGIN if origin and ANY_ORIGIN in self.origins else b""
