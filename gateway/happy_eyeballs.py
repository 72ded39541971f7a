"""Connecting to one of several addresses, dead ones among them (RFC 8305, "Happy Eyeballs")."""

import asyncio
import socket
from collections.abc import Sequence

# As in curl and browsers: most hosts that are alive have answered by then.
HEAD_START = 0.25


async def connect_to_first(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """Return a socket connected to the first of `addresses` that answers; raise the last OSError if
    none does. The next address is tried when those before it have failed or had their head start;
    all are tried within half of `seconds`.

    A TLS handshake is not part of the race: a slow one does not mean that the address is dead.
    """
    if len(addresses) == 1:
        return await _connected(addresses[0], port)
    start = min(HEAD_START, seconds / (2 * len(addresses)))
    waiting = list(reversed(addresses))
    running: set[asyncio.Task[socket.socket]] = set()
    problem: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connected(waiting.pop(), port)))
            done, running = await asyncio.wait(
                running, timeout=start if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                problem = task.exception()
                if problem is None:
                    running |= done - {task}
                    return task.result()
    finally:
        for task in running:
            task.add_done_callback(_close)
            task.cancel()
    raise problem or OSError("there is no address")


async def _connected(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is given as TCP.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _close(late: "asyncio.Task[socket.socket]") -> None:
    if not late.cancelled() and late.exception() is None:
        late.result().close()
