"""Bytes that cannot be read as a request: the refusal tells what to do about them."""

from gateway.protocol.http.methods import spelling_problem

_PROXY = (
    "This connection begins with the PROXY protocol, which is not understood here. Turn it off in "
    "the load balancer: X-Forwarded-For tells the caller's address, where trusted_proxies has "
    "the balancer's."
)
_UNESCAPED = (
    "The URL holds a character that must be percent-encoded as UTF-8, such as %20 for a blank."
)
_BEGINNINGS = {
    b"PROXY ": _PROXY,
    b"\r\n\r\n\x00\r\nQUIT\n": _PROXY,
    b"\x16\x03": "This is TLS, and plain HTTP is served here: use a URL of http://.",
    b"PRI * HTTP/2": "This is HTTP/2: have what stands in front speak HTTP/1.1 to the gateway.",
}


def advice_on(data: bytes) -> str:
    """Return what to do about `data`, which begins a request or a connection; empty if unknown."""
    found = (told for beginning, told in _BEGINNINGS.items() if data.startswith(beginning))
    method = data.partition(b" ")[0].decode("latin-1")
    return next(found, "") or spelling_problem(method) or _spelling_of_url(data)


def _spelling_of_url(data: bytes) -> str:
    line = data.partition(b"\r\n")[0]
    is_request = line.endswith((b" HTTP/1.1", b" HTTP/1.0"))
    return _UNESCAPED if is_request and (line.count(b" ") > 2 or not line.isascii()) else ""
