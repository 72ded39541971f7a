"""A request before it is signed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.protocol.http.request import Header

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class ToSign:
    """A request as it is sent. `path` and `query` byte for byte, the query without its `?`.

    `body` None: it streams, and is not part of what is signed.
    """

    method: str
    https: bool
    authority: str
    path: str
    query: str = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def body_hash(self) -> str:
        return UNSIGNED if self.body is None else sha256(self.body).hexdigest()
