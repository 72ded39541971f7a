"""Connections that begin with another protocol: the refusal tells the operator which one."""

from gateway.protocol.http.methods import spelling_problem

_PROXY = (
    "This connection begins with the PROXY protocol, which is not understood here. Turn it off in "
    "the load balancer: X-Forwarded-For tells the caller's address, where trusted_proxies has "
    "the balancer's."
)
_BEGINNINGS = {
    b"PROXY ": _PROXY,
    b"\r\n\r\n\x00\r\nQUIT\n": _PROXY,
    b"\x16\x03": "This is TLS, and plain HTTP is served here: use a URL of http://.",
    b"PRI * HTTP/2": "This is HTTP/2: have what stands in front speak HTTP/1.1 to the gateway.",
}


def wrong_protocol(data: bytes) -> str:
    """Return what to do about a connection that begins with `data`; empty if that is unknown."""
    found = (told for beginning, told in _BEGINNINGS.items() if data.startswith(beginning))
    return next(found, "") or spelling_problem(data.partition(b" ")[0].decode("latin-1"))
