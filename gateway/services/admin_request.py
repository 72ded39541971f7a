"""A request to the admin listener as plain data, for the handlers of the API and the console."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.protocol.http.reply import Reply, Streamed
from gateway.services.admission.passage import Identity


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """`headers` by lower-case name. `read_body` returns at most the given number of bytes, or
    refuses. `identify` returns whose key the request carries, or refuses. `identify_key` does the
    same for a key in the body, and returns None if it is not valid.

    `secure`: the request came over TLS. `authority`: its Host header.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes] = field(repr=False)
    request_id: str
    secure: bool
    authority: str
    identify: Callable[[], Awaitable[Identity]] = field(repr=False)
    identify_key: Callable[[str], Awaitable[Identity | None]] = field(repr=False)
    read_body: Callable[[int], Awaitable[bytes]] = field(repr=False)


# None: there is nothing at this path.
AnswerAdmin = Callable[[AdminRequest], Awaitable[Reply | Streamed | None]]
