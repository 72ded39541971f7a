"""An event loop that stalls, as it does while the process gets no processor time."""

import asyncio
import socket
import time
from collections.abc import Callable


async def stall(seconds: float, first: Callable[[], object] = lambda: None) -> None:
    """Do `first`, and then nothing for `seconds`. It happens while the loop reads its sockets: what
    arrives meanwhile is read after the timers that have expired."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = socket.socketpair()

    def on_readable() -> None:
        loop.remove_reader(ours)
        first()
        time.sleep(seconds)
        over.set()

    with ours, theirs:
        loop.add_reader(ours, on_readable)
        theirs.send(b"!")
        await over.wait()
