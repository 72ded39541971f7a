"""Server-sent events: only as much as it takes to say a last word in a stream of them."""

from collections.abc import Iterable

import orjson

from gateway.domain.errors import Denied
from gateway.protocol.http.refusal import error_object
from gateway.protocol.http.request import Header

_BOUNDARIES = (b"\n\n", b"\r\r", b"\r\n\r\n")


def is_event_stream(headers: Iterable[Header]) -> bool:
    """Whether an answer is an event stream that can be written into: not a compressed one."""
    found = {name.lower(): value for name, value in headers}
    kind = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
    coding = found.get(b"content-encoding", b"identity").strip().lower()
    return kind == b"text/event-stream" and coding == b"identity"


def ends_at_boundary(tail: bytes) -> bool:
    """Whether the last four bytes of a stream (fewer: all of it) end an event."""
    return not tail or tail.endswith(_BOUNDARIES)


def error_event(denied: Denied) -> bytes:
    """`event: error`, with the same object that a refusal has as its body."""
    return b"event: error\ndata: %b\n\n" % orjson.dumps(error_object(denied))
