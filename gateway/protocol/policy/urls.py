"""The values of policy files that say where something is: URLs, hosts, origins and networks."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import quote, urlsplit

from gateway.domain.policies.cors import ANY_ORIGIN
from gateway.domain.policies.references import OPEN
from gateway.domain.policies.routes import pattern_problem
from gateway.domain.policies.snapshot import Upstream
from gateway.protocol.http.authority import parse_host
from gateway.protocol.policy.annotations import written

URL_PATTERN = "^[Hh][Tt][Tt][Pp][Ss]?://"
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# The longest part of a DNS name between two dots.
_LONGEST_LABEL = 63
_DEFAULT_PORTS = {"http": 80, "https": 443}
# The message does not repeat what was written: a mistyped URL may hold a password.
_NO_URL = "this is not a URL such as http://127.0.0.1:9101 or https://agent.example.com/base"


def _upstream(text: str) -> Upstream:
    scheme, host, port, path = _url(text)
    bare = path.rstrip("/")
    if bare and (problem := pattern_problem(bare)):
        raise ValueError(f"the path of the upstream's URL: {problem}")
    if "*" in path or " " in path:
        raise ValueError("the path of the upstream's URL is taken as it stands, without '*'")
    return Upstream("https" if scheme == "https" else "http", host, port, quote(path, safe=_ASCII))


def _url(text: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path."""
    if OPEN in text:
        raise ValueError("no reference is resolved in a URL: 'inject' says where credentials go")
    # `urlsplit` drops control characters and leading blanks, which could lead to another host.
    if not text.isprintable() or text.startswith(" "):
        raise ValueError(_NO_URL)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    authority = parts.netloc.rpartition("@")[2].encode("utf-8", "replace")
    if parts.scheme not in _DEFAULT_PORTS or port == 0 or parse_host(authority) is None:
        raise ValueError(_NO_URL)
    labels = (parts.hostname or "").removesuffix(".").split(".")
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise ValueError(_NO_URL)
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("this URL has no user, password, query or fragment")
    port = port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, parts.hostname or "", port, parts.path


def _proxy(text: str) -> tuple[str, int]:
    scheme, host, port, path = _url(text)
    if scheme != "http" or path.strip("/"):
        raise ValueError("a proxy is written as http://host:port")
    return host, port


def _host(text: str) -> str:
    host = parse_host(text.encode("utf-8", "replace"))
    if "*" in text:
        raise ValueError(f"{text[:80]!r} is not a host name: no '*' is read, so name each host")
    if host is None or host != text.lower().strip("[]") or text.endswith("."):
        raise ValueError(f"{text[:80]!r} is not a host name without a port")
    return host


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as problem:
        raise ValueError(f"{text[:60]!r} is not a network such as 10.0.0.0/8: {problem}") from None


def _origin(text: str) -> bytes:
    if text == "*":
        return ANY_ORIGIN
    scheme, mark, authority = text.lower().partition("://")
    host = authority.encode("ascii", "replace")
    if not (mark and _SCHEME.fullmatch(scheme)) or parse_host(host) is None:
        raise ValueError(
            "this is not an origin such as https://app.example.com or http://localhost:3000 "
            "(no path, no slash at the end), and not '*'"
        )
    # Browsers leave out the scheme's default port.
    default = f":{_DEFAULT_PORTS.get(scheme)}"
    return f"{scheme}://{authority.removesuffix(default)}".encode("ascii")


UpstreamUrl = Annotated[Upstream, *written(_upstream, URL_PATTERN, "http://127.0.0.1:9101")]
ProxyUrl = Annotated[
    tuple[str, int], *written(_proxy, "^[Hh][Tt][Tt][Pp]://", "http://proxy.example.com:3128")
]
HostName = Annotated[str, *written(_host, "", "support.example.com")]
OriginText = Annotated[
    bytes, *written(_origin, r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^/]+)$", "https://app.example.com")
]
NetworkText = Annotated[IPv4Network | IPv6Network, *written(_network, "", "10.0.0.0/8")]
