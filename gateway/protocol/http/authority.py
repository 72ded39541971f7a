"""The Host header: `name`, `name:port`, `[v6]`, `[v6]:port`, and nothing else (RFC 9110, 7.2)."""

from functools import lru_cache
from ipaddress import IPv6Address

_NAME = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"


@lru_cache(maxsize=1024)
def parse_host(value: bytes) -> str | None:
    """Return the host in lower case, without its port; None if readers could differ on it."""
    if value[:1] == b"[":
        name, bracket, port = value[1:].partition(b"]")
        if not bracket or (port and port[:1] != b":") or not _is_v6(name):
            return None
        port = port[1:] if port else b"80"
    else:
        name, colon, port = value.partition(b":")
        if not name or name.translate(None, _NAME) or name[:1] == b".":
            return None
        port = port if colon else b"80"
    if not port.isdigit() or not 0 < len(port) <= 5 or not 0 < int(port) < 65536:
        return None
    return name.decode("ascii").lower()


def _is_v6(name: bytes) -> bool:
    try:
        IPv6Address(name.decode("ascii"))
    except ValueError:
        return False
    return b"%" not in name
