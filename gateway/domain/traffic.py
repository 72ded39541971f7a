"""What is remembered of one request once it is over: for metrics and the access log, never more."""

from typing import NamedTuple

from gateway.domain.audit.record import Named
from gateway.domain.errors import Denied


class Trace(NamedTuple):
    """Where a request is in its trace, in hexadecimal digits. `span_id`: of what its agent is told,
    so of the call to the agent; `parent`: of its caller's span, empty where it began here. `flags`:
    01, it is sampled."""

    trace_id: str
    span_id: str
    parent: str
    flags: str


class Handled(NamedTuple):
    """`at`: when it ended, in Unix seconds. `path` without its query. `code` empty: not refused.

    `status` 0: nobody was there to be answered. `cut`: the answer was ended before its end. Sizes
    in bytes, times in seconds; `admission` and `first_byte` None where it did not come to that.
    `shadow`: the code with which a rule that is tried out would have refused it.
    `decoy`: what was used that nobody was given: `key:<id>`, or the name of a credential.
    `user`: for whom it is. `wanted`: the tool that it asks for; `tool`: the same, once that it is
    called is on record, and `uses`: the credentials that it was called with.
    `trace` None: nobody traces.
    A NamedTuple: one is made for every request, and a frozen dataclass takes three times as long.
    """

    at: float
    request_id: str
    method: str = ""
    path: str = ""
    agent: str = ""
    key_id: str = ""
    consumer: str = ""
    status: int = 0
    code: str = ""
    cut: bool = False
    received: int = 0
    sent: int = 0
    admission: float | None = None
    first_byte: float | None = None
    total: float = 0.0
    decoy: str = ""
    tool: str = ""
    user: str = ""
    shadow: str = ""
    trace: Trace | None = None
    wanted: str = ""
    uses: tuple[Named, ...] = ()


def unreadable(request_id: str, denied: Denied, *, sent: int, at: float) -> Handled:
    """Of what was no request: nothing but how it was refused."""
    row = denied.denial
    return Handled(at, request_id, status=row.status, code=row.name, sent=sent)
