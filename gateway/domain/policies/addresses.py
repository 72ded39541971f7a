"""Addresses that are called only if a policy allows it: clouds serve instance credentials there."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_GUARDED = (
    ip_network("169.254.0.0/16"),
    ip_network("fe80::/10"),
    # IPv6: all of Amazon's services, because pod credentials come from another address than
    # instance credentials; then metadata of Google, Oracle, Alibaba, Scaleway and Linode.
    ip_network("fd00:ec2::/32"),
    ip_network("fd20:ce::254/128"),
    ip_network("fd00:c1::a9fe:a9fe/128"),
    ip_network("fd00:100::100:200/128"),
    ip_network("fd00:42::42/128"),
    ip_network("fd00:a9fe:a9fe::1/128"),
    # IPv4: Alibaba, Oracle and Azure.
    ip_network("100.100.100.200/32"),
    ip_network("192.0.0.192/32"),
    ip_network("168.63.129.16/32"),
)
# NAT64 (RFC 6052 and 8215), IPv4-mapped, IPv4-translated and IPv4-compatible addresses.
_ENDS_IN_IPV4 = tuple(
    ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0/96", "::ffff:0:0:0/96", "::/96")
)


def is_guarded(text: str) -> bool:
    """Whether `text` is a link-local or metadata address, also when embedded in an IPv6 address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(inner in network for inner in _readings(address) for network in _GUARDED)


def is_public(text: str) -> bool:
    """Whether `text` is an address on the Internet that embeds no private address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(inner.is_global and not inner.is_multicast for inner in _readings(address))


def is_loopback(host: str) -> bool:
    """Whether traffic to `host` stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _readings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if any(address in network for network in _ENDS_IN_IPV4):
            found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
