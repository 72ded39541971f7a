"""Sockets to listen on, bound before anybody accepts on them, and whether sockets have run out."""

import asyncio
import errno
import os
import socket

from gateway.domain.errors import OperationError
from gateway.domain.settings import Address

_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AddressTakenError(OperationError):
    """Another program listens on the address already."""


def is_starved(problem: BaseException | None) -> bool:
    """Whether the system had no file descriptor or memory left for a socket: no peer is at
    fault."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in _STARVED:
            return True
        problem = problem.__cause__
    return False


async def bound(address: Address) -> tuple[socket.socket, ...]:
    """Return a bound socket for each IP address of `address`; raise OperationError, or its
    AddressTakenError, if that fails. Connections are refused until `listen` is called.
    """
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        for family, place in dict.fromkeys((one[0], one[4]) for one in found):
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(place)
    except OSError as problem:
        for one in sockets:
            one.close()
        raise cannot_listen(address, problem) from None
    return tuple(sockets)


def cannot_listen(address: Address, problem: OSError) -> OperationError:
    if isinstance(problem, socket.gaierror):
        # Its error numbers are the resolver's, not the system's.
        reason = problem.strerror
    else:
        # The event loop's own text names the address a second time.
        reason = os.strerror(problem.errno) if problem.errno else str(problem)
    kind = AddressTakenError if problem.errno == errno.EADDRINUSE else OperationError
    return kind(f"Cannot listen on {address}: {reason}. See --listen and --admin-listen.")


def address_of(sockets: tuple[socket.socket, ...]) -> Address:
    """Return the address of the first socket: where port 0 was asked for, with the real port."""
    host, port, *_ = sockets[0].getsockname()
    return Address(host, port)
