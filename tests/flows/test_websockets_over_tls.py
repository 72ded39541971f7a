"""WebSockets to an agent over TLS, where more waits in the gateway than it sees."""

import asyncio
import socket
from pathlib import Path
from threading import Event

import pytest
import trustme

from gateway import happy_eyeballs
from tests.flows.sockets import PATIENCE, SWITCHING, dialled
from tests.flows.upstreams import files, secure, server_side
from tests.flows.world import World, metrics
from tests.protocol.http.frames import BINARY, frame

SMALL = 4096


async def test_a_slow_agent_gets_all_that_its_caller_sent_before_it_left(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, message, left = trustme.CA(), frame(BINARY, b"x" * 60_000), Event()
    context, connect = server_side(authority, "localhost"), happy_eyeballs._connected

    async def with_little_room(address: str, port: int) -> socket.socket:
        made = await connect(address, port)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        return made

    monkeypatch.setattr(happy_eyeballs, "_connected", with_little_room)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(PATIENCE)

        def agent() -> bytes:
            """Not of asyncio, whose TLS reads on while nobody takes what it has read."""
            with context.wrap_socket(listening.accept()[0], server_side=True) as end:
                end.settimeout(PATIENCE)
                while b"\r\n\r\n" not in end.recv(65536):
                    pass
                end.sendall(SWITCHING.format(more="").encode())
                left.wait(PATIENCE)
                return b"".join(iter(lambda: end.recv(65536), b""))

        upstream = secure(listening.getsockname()[1], tls=files(tmp_path, authority, "gateway"))
        world.serve(world.agent("chat", upstream=upstream))
        got = asyncio.create_task(asyncio.to_thread(agent))
        async with dialled(world) as caller, asyncio.timeout(PATIENCE):
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            caller.send(message)
            caller.writer.close()
            while (await metrics(world))["gateway_open_streams"]:
                await asyncio.sleep(0.05)
            left.set()
            assert await got == message
