"""A request to the admin listener as plain data: what its door hands on, whoever answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.protocol.http.reply import Reply, Streamed
from gateway.services.admission.passage import Identity


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """`headers` by lower-case name; `read_body` gives at most so many bytes, or refuses;
    `identify` says whose key it came with, or refuses; `recognise` the same of a key in its body,
    None where that is no good one.
    `secure`: it came over TLS. `authority`: of its Host header."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes] = field(repr=False)
    request_id: str
    secure: bool
    authority: str
    identify: Callable[[], Awaitable[Identity]] = field(repr=False)
    recognise: Callable[[str], Awaitable[Identity | None]] = field(repr=False)
    read_body: Callable[[int], Awaitable[bytes]] = field(repr=False)


# None: there is nothing at this path.
AnswerAdmin = Callable[[AdminRequest], Awaitable[Reply | Streamed | None]]
