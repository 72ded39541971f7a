"""The record of one finished request, for metrics and the access log."""

from typing import NamedTuple

from gateway.domain.audit.record import Named
from gateway.domain.errors import Denied


class Trace(NamedTuple):
    """The trace context of a request, in hexadecimal digits. `span_id`: the span of the call to the
    agent, as told to the agent. `parent`: the caller's span, empty if the trace began here.
    `flags`: 01 if it is sampled."""

    trace_id: str
    span_id: str
    parent: str
    flags: str


class Handled(NamedTuple):
    """`at`: when the request ended, in Unix seconds. `path`: without the query. `code`: empty if it
    was not refused.

    `status` 0: the caller left before there was an answer. `cut`: the answer was cut off before its
    end. Sizes are in bytes, times in seconds; `admission` and `first_byte` are None if the request
    did not get so far. `shadow`: the code with which a rule with `enforce: false` would have
    refused it. `decoy`: the decoy that was used: `key:<id>`, or the name of a credential. `user`:
    on whose behalf it was made. `wanted`: the tool that it asks for; `tool`: the same, once the
    call is on record; `uses`: the credentials that the tool was called with. `trace` None: tracing
    is off. This is a NamedTuple because one is made for every request, and a frozen dataclass takes
    three times as long.
    """

    at: float
    request_id: str
    method: str
    path: str
    agent: str
    key_id: str
    consumer: str
    status: int
    code: str
    cut: bool
    received: int
    sent: int
    admission: float | None
    first_byte: float | None
    total: float
    decoy: str = ""
    tool: str = ""
    user: str = ""
    shadow: str = ""
    trace: Trace | None = None
    wanted: str = ""
    uses: tuple[Named, ...] = ()


def unreadable(request_id: str, denied: Denied, *, sent: int, at: float) -> Handled:
    """Return the record of bytes that were no readable request: only how they were refused."""
    row = denied.denial
    return Handled(
        at=at,
        request_id=request_id,
        method="",
        path="",
        agent="",
        key_id="",
        consumer="",
        status=row.status,
        code=row.name,
        cut=False,
        received=0,
        sent=sent,
        admission=None,
        first_byte=None,
        total=0.0,
    )
