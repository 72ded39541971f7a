"""Accepting where the system gives no more files."""

import asyncio
import socket

from structlog.testing import capture_logs

from gateway.proxy.acceptor import Acceptor
from tests.starved import no_more_files


async def test_whoever_waits_for_want_of_files_is_let_in_later_and_told_of_at_once() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    accepted: asyncio.Queue[asyncio.Protocol] = asyncio.Queue()

    def accept() -> asyncio.Protocol:
        accepted.put_nowait(asyncio.Protocol())
        return asyncio.Protocol()

    acceptor = Acceptor(listening, accept, dict, most=10, shared=False)
    acceptor.start(10)
    with socket.socket() as caller, capture_logs() as logs:
        with no_more_files():
            caller.connect(listening.getsockname())
            async with asyncio.timeout(10):
                while not logs:
                    await asyncio.sleep(0.01)
            # It is tried again and again, and said once.
            await asyncio.sleep(0.3)
        assert [(one["event"], one["reason"]) for one in logs] == [
            ("callers_wait", "Too many open files")
        ]
        async with asyncio.timeout(10):
            await accepted.get()
    acceptor.close()
