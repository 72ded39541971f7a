"""What is still under way at an end: it is told of, it is given up in time, it holds no place."""

import asyncio
import json
import socket
from contextlib import closing, suppress
from pathlib import Path

from redis.asyncio import Redis

from gateway.domain.policies.snapshot import Timeouts
from gateway.domain.settings import AccessLogSettings, ListenerLimits, StoreSettings
from tests.flows.agents import agent_that
from tests.flows.raw import read_answer
from tests.flows.world import World, new_world

# The bound itself, and what a busy machine takes on top of it.
BOUND = 5.0
KIBIBYTE = 1024


async def request_of(world: World, line: str, *more: str) -> bytes:
    key = await world.issue()
    lines = (f"{line} HTTP/1.1", "Host: x", f"Authorization: Bearer {key.text}", *more, "")
    return "".join(f"{text}\r\n" for text in lines).encode()


async def test_what_the_end_of_the_gateway_cuts_is_in_its_access_log(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    asked = asyncio.Semaphore(0)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            asked.release()
            await reader.read()

    log = AccessLogSettings(tmp_path / "access.log", as_json=True)
    async with agent_that(silent) as upstream:
        async with new_world(store, client, access_log=log) as world:
            world.serve(world.agent(upstream=upstream))
            data = await request_of(world, "GET /agents/echo/x")
            writers = []
            for _ in range(20):
                _, writer = await asyncio.open_connection(*world.address)
                writer.write(data)
                writers.append(writer)
            for _ in range(20):
                await asked.acquire()
        for writer in writers:
            writer.close()
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [(line["path"], line["status"]) for line in lines] == [("/agents/echo/x", 0)] * 20


async def test_an_agent_that_falls_silent_in_its_answer_is_given_up_however_the_upload_went(
    store: StoreSettings, client: Redis
) -> None:
    """It answers early, lets the upload wait, takes all of it, and never ends its answer."""
    read_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
            await read_on.wait()
            while await reader.read(2**16):
                pass

    timeouts = Timeouts(first_byte=5.0, idle=1.0)
    async with new_world(store, client) as world, agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream, timeouts=timeouts))
        pool = world.gateways[0].data._callbacks.serve.__self__._forwarder._pool  # type: ignore[attr-defined]
        reader, writer = await asyncio.open_connection(*world.address)
        with closing(writer):
            size = 2**25
            writer.write(await request_of(world, "POST /agents/echo/x", f"Content-Length: {size}"))
            writer.write(b"x" * size)
            async with asyncio.timeout(BOUND):
                await reader.readuntil(b"begun")
                while not any(one.writing_paused for one in pool._open):
                    await asyncio.sleep(0)
                read_on.set()
                with suppress(ConnectionError):
                    assert await reader.read() == b""


async def test_who_makes_room_without_reading_what_it_is_owed_is_not_waited_for(
    store: StoreSettings, client: Redis
) -> None:
    limits, asked, sent = ListenerLimits(max_connections=1, send_idle=60), 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                asked += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20480\r\n\r\n" + b"x" * 20480)

    async with new_world(store, client, limits=limits) as world, agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        data = await request_of(world, "GET /agents/echo/x")
        with socket.create_connection(world.address) as deaf:
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            connections = world.gateways[0].data.connections
            async with asyncio.timeout(3 * BOUND):
                while not connections:
                    await asyncio.sleep(0.01)
                (old,) = connections
                while not (old.transport and old.transport.get_write_buffer_size()):
                    await loop.sock_sendall(deaf, data)
                    sent += 1
                    # One by one: more of them would not fit into what is owed.
                    while asked < sent or old.busy:
                        await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection(*world.address)
            with closing(writer):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await read_answer(reader)).status == 200
                async with asyncio.timeout(BOUND):
                    await old.ended


async def test_small_events_for_callers_that_do_not_read_are_not_kept_in_memory(
    store: StoreSettings, client: Redis
) -> None:
    sent = 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
            writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"b\r\ndata: abc\n\n\r\n" * 40)
                await writer.drain()
                sent += 1
                await asyncio.sleep(0)

    async with new_world(store, client) as world, agent_that(drip) as upstream:
        world.serve(world.agent(upstream=upstream))
        data = await request_of(world, "GET /agents/echo/x")
        deaf = [socket.create_connection(world.address) for _ in range(3)]
        for one in deaf:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(data)
        connections = world.gateways[0].data.connections
        async with asyncio.timeout(60):
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
        held = [c.transport.get_write_buffer_size() for c in connections if c.transport]
        assert len(held) == 3
        assert min(held) > 0, "it was the reading that was missing"
        assert max(held) < 256 * KIBIBYTE
        for one in deaf:
            one.close()
