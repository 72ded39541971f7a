"""The head of a request for one upstream, with credentials injected."""

from gateway.crypto.signing import signed
from gateway.crypto.to_sign import ToSign
from gateway.domain.policies.services import Sign
from gateway.domain.policies.snapshot import Agent, Upstream
from gateway.protocol.http.upstream_request import UPGRADE, framing_line, write_head
from gateway.protocol.inject import with_headers, with_query
from gateway.proxy.upstream.outgoing import Injection, Outgoing


def head_for(upstream: Upstream, outgoing: Outgoing) -> bytes:
    """Return the head as it is sent to `upstream`, and to no other host."""
    if outgoing.injection is not None:
        return _injected_head(upstream, outgoing, outgoing.injection)
    head, callee = outgoing.head, outgoing.callee
    preserved = head.authority if isinstance(callee, Agent) and callee.preserve_host else b""
    return write_head(
        head.method,
        b"%b%b%b" % (upstream.base_path.encode(), outgoing.located.path, head.target.query),
        preserved or upstream.authority.encode(),
        head.headers,
        framing_line(head.content_length, chunked=head.chunked),
        UPGRADE if outgoing.upgrade else b"",
        *outgoing.blocks,
    )


def _injected_head(upstream: Upstream, outgoing: Outgoing, injection: Injection) -> bytes:
    head, values = outgoing.head, injection.values
    path = b"%b%b" % (upstream.base_path.encode(), outgoing.located.path) or b"/"
    query = with_query(head.target.query, values.query)
    headers = with_headers(head.headers, values.headers, values.names)
    if values.signing is not None:
        sign, fields = values.signing
        request = ToSign(
            head.method,
            upstream.authority,
            path.decode("ascii"),
            query[1:].decode("ascii"),
            headers,
            _hashed(outgoing, injection, sign),
        )
        headers = with_headers(headers, signed(sign, fields, request))
    length, chunked = head.content_length, head.chunked
    if injection.body is not None:
        length, chunked = len(injection.body), False
    return write_head(
        head.method,
        path + query,
        upstream.authority.encode(),
        headers,
        framing_line(length, chunked=chunked),
        *outgoing.blocks,
    )


def _hashed(outgoing: Outgoing, injection: Injection, sign: Sign) -> bytes | None:
    if injection.body is None and not outgoing.head.has_body:
        return b""
    return injection.body if sign.hashes_body else None
