"""CORS headers of refusals of requests whose head could not be read."""

from collections.abc import Sequence

from gateway.domain.policies.snapshot import Policies
from gateway.protocol.http.authority import parse_host
from gateway.protocol.http.cors import Fields, cors_fields
from gateway.protocol.http.request import Header, RequestHead, values_of
from gateway.protocol.http.target import Target
from gateway.services.admission.locate import find_callee


def cors_of_unread(
    method: str, target: bytes, headers: Sequence[Header], policies: Policies
) -> Fields:
    """Return the headers that let a page read why its request was refused, as far as a malformed
    head shows which agent the request is for."""
    origins, hosts = (values_of(headers, name) for name in (b"origin", b"host"))
    path = target.partition(b"?")[0]
    if len(origins) != 1 or len(hosts) > 1 or not path.isascii():
        return ()
    host = (parse_host(hosts[0]) if hosts else None) or ""
    head = RequestHead(method, Target(path), fields={b"origin": origins[0]}, host=host)
    return cors_fields(head, find_callee(head, policies)[0])
