"""Server-sent events: just enough to write an error event at the end of a stream."""

from collections.abc import Iterable

import orjson

from gateway.domain.errors import Denied
from gateway.protocol.http.refusal import error_object
from gateway.protocol.http.request import Header

_BOUNDARIES = (b"\n\n", b"\r\r", b"\r\n\r\n")


def is_event_stream(headers: Iterable[Header]) -> bool:
    """Whether an answer is an event stream that an event can be written into: not if compressed."""
    found = {name.lower(): value for name, value in headers}
    kind = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
    coding = found.get(b"content-encoding", b"identity").strip().lower()
    return kind == b"text/event-stream" and coding == b"identity"


def ends_at_boundary(tail: bytes) -> bool:
    """Whether `tail`, the last four bytes of a stream or all of a shorter one, ends an event."""
    return not tail or tail.endswith(_BOUNDARIES)


def error_event(denied: Denied) -> bytes:
    """Return an `event: error` with the object that the body of a refusal has."""
    return b"event: error\ndata: %b\n\n" % orjson.dumps(error_object(denied))
