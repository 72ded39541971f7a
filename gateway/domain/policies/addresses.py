"""Addresses that are not called unless a policy says so: clouds keep instance credentials there."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_GUARDED = (
    ip_network("169.254.0.0/16"),
    ip_network("fe80::/10"),
    # Amazon's and Google's metadata over IPv6, Alibaba's, Oracle's and Azure's over IPv4.
    ip_network("fd00:ec2::254/128"),
    ip_network("fd20:ce::254/128"),
    ip_network("100.100.100.200/32"),
    ip_network("192.0.0.192/32"),
    ip_network("168.63.129.16/32"),
)
_NAT64 = ip_network("64:ff9b::/96")


def is_guarded(text: str) -> bool:
    """Whether `text` is a link-local or metadata address, also inside an IPv6 one."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(inner in network for inner in _readings(address) for network in _GUARDED)


def is_public(text: str) -> bool:
    """Whether `text` is an address of the Internet, and none of this network's in disguise."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(inner.is_global and not inner.is_multicast for inner in _readings(address))


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _readings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        found += [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
        if address in _NAT64:
            found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
