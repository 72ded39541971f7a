"""A request before it is signed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

from gateway.protocol.http.request import Header

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class ToSign:
    """A request as it will be sent. `path` and `query` byte for byte, the query without its `?`.

    `body` None: it streams and is not covered by the signature.
    """

    method: str
    authority: str
    path: str
    query: str = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def body_hash(self) -> str:
        return UNSIGNED if self.body is None else sha256(self.body).hexdigest()

    @property
    def parameters(self) -> Iterator[tuple[str, str]]:
        """The query's parameters as clouds spell them. A plus is the space of form encoding."""
        items = (one.replace("+", " ").partition("=") for one in self.query.split("&") if one)
        return ((spelled(name), spelled(value)) for name, _, value in items)


def spelled(text: str, safe: str = "") -> str:
    """Return `text` percent-encoded as clouds do: all bytes except letters, digits, `_.-~` and
    those in `safe`."""
    return quote(unquote_to_bytes(text), safe)
