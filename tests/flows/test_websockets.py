"""Frames pass as they are, both ways; the gateway speaks only when it has to end it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.policies.snapshot import Timeouts
from gateway.domain.settings import ListenerLimits, StoreSettings
from gateway.protocol.http.frames import close_frame
from tests.flows.chat import app as app
from tests.flows.raw import read_answer
from tests.flows.refusals import check
from tests.flows.sockets import NONCE, PATIENCE, SWITCHING, Pair, dialled, opened, raw_agent
from tests.flows.world import World, new_world
from tests.protocol.http.frames import BINARY, CLOSE, MORE, PING, PONG, TEXT, frame

LIMIT = 200_000
KIBIBYTE = 2**10
MASKED_CLOSE = len(close_frame(1001, b"mask"))


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client, limits=ListenerLimits(max_message=LIMIT)) as made:
        yield made
        async with asyncio.timeout(10):
            while made.gateways[0].data.connections:
                await asyncio.sleep(0.01)


def code_of(data: bytes) -> int:
    """The close code in a masked or unmasked close frame, which is all that `data` is."""
    if len(data) == MASKED_CLOSE:
        assert data[:2] == b"\x88\x82"
        return int.from_bytes(bytes(a ^ b for a, b in zip(data[6:], data[2:4], strict=True)), "big")
    assert data[:2] == b"\x88\x02"
    assert len(data) == 4
    return int.from_bytes(data[2:], "big")


def bare(code: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0) -> bytes:
    return frame(code, payload, fin=fin, bits=bits, masked=False)


CONVERSATION = (
    (TEXT, b"hello", True),
    (PING, b"are you there", True),
    (PONG, b"", True),
    (BINARY, bytes(range(256)) * 300, False),
    (PING, b"", True),
    (MORE, b"", False),
    (MORE, b"the end", True),
    (TEXT, b"\xff\xfe no UTF-8", True),
)


async def test_every_byte_passes_as_it_is_both_ways(world: World) -> None:
    async with opened(world) as pair:
        for code, payload, fin in CONVERSATION:
            there = frame(code, payload, fin=fin)
            back = frame(code, payload, fin=fin, masked=False)
            pair.caller.send(there)
            pair.agent.send(back)
            assert await pair.agent.read(len(there)) == there
            assert await pair.caller.read(len(back)) == back


async def test_a_gateway_that_stops_says_so_to_both_sides(world: World) -> None:
    async with opened(world) as pair:
        pair.caller.send(frame(TEXT, b"hello"))
        await pair.agent.read(len(frame(TEXT, b"hello")))
        drained = asyncio.create_task(world.gateways[0].drain(0.1))
        assert code_of(await pair.caller.read_to_end()) == 1001
        assert code_of(await pair.agent.read_to_end()) == 1001
        pair.caller.writer.close()
        assert await drained == 1


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_close_codes_pass_both_ways_and_end_it(world: World, code: int) -> None:
    payload = code.to_bytes(2, "big") + b"so long"
    async with opened(world) as pair:
        pair.caller.send(frame(CLOSE, payload))
        assert await pair.agent.read(len(payload) + 6) == frame(CLOSE, payload)
        pair.agent.send(bare(CLOSE, payload))
        pair.agent.writer.close()
        assert await pair.caller.read_to_end() == bare(CLOSE, payload)


async def test_real_clients_compress_and_keep_alive(world: World, app: object) -> None:
    key = await world.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"{world.url}/agents/chat/socket"
    async with world.session.ws_connect(url, headers=headers, compress=15, heartbeat=0.05) as ws:
        await ws.receive_json()
        assert ws.compress, "the agent negotiated it"
        answer = asyncio.create_task(ws.receive_str())
        # Time for several pings: one without its pong would close it.
        await asyncio.sleep(0.3)
        await ws.send_str("again " * 1000)
        assert await answer == "echo " + "again " * 1000
        await ws.close()
        assert ws.close_code == 1000


CALLERS_FAULTS = {
    "unmasked": (bare(TEXT, b"x"), 1002),
    "reserved bits": (frame(TEXT, b"x", bits=0x40), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "an oversized ping": (frame(PING, b"x" * 126), 1002),
    "a fragmented close": (frame(CLOSE, b"", fin=False), 1002),
    "a ping flood": (frame(PING) * 1001, 1002),
    "too big": (frame(BINARY, b"x" * (LIMIT + 1)), 1009),
    "a length of 8 EiB": (b"\x82\xff\x7f" + b"\xff" * 7 + b"mask", 1009),
}


@pytest.mark.parametrize("case", CALLERS_FAULTS)
async def test_a_caller_that_breaks_the_rules_is_told_and_the_agent_too(
    world: World, case: str
) -> None:
    bad, code = CALLERS_FAULTS[case]
    good = frame(TEXT, b"well") + (frame(PING) * 1000 if case == "a ping flood" else b"")
    async with opened(world) as pair:
        pair.caller.send(good + bad[-6:] if case == "a ping flood" else good + bad)
        assert code_of(await pair.caller.read_to_end()) == code
        heard = await pair.agent.read_to_end()
        assert heard[:-MASKED_CLOSE] == good, "nothing of the bad frame arrives"
        assert code_of(heard[-MASKED_CLOSE:]) == 1001


AGENTS_FAULTS = {
    "masked": (frame(TEXT, b"x"), 1002),
    "reserved bits": (bare(TEXT, b"x", bits=0x10), 1002),
    "too big": (bare(BINARY, b"x" * (LIMIT + 1)), 1009),
    "a continuation of nothing": (bare(MORE, b"x"), 1002),
}


@pytest.mark.parametrize("case", AGENTS_FAULTS)
async def test_an_agent_that_breaks_the_rules_is_told_and_the_caller_too(
    world: World, case: str
) -> None:
    bad, code = AGENTS_FAULTS[case]
    async with opened(world) as pair:
        pair.agent.send(bare(TEXT, b"well") + bad)
        heard = await pair.caller.read_to_end()
        assert heard[:-4] == bare(TEXT, b"well")
        assert code_of(heard[-4:]) == 1011
        assert code_of(await pair.agent.read_to_end()) == code


async def test_the_size_of_a_message_is_that_of_all_its_fragments(world: World) -> None:
    part = LIMIT // 2
    good = frame(BINARY, b"x" * part, fin=False) + frame(MORE, b"x" * part, fin=False)
    async with opened(world) as pair:
        pair.caller.send(good + frame(PING) + frame(MORE, b"x"))
        expected = good + frame(PING)
        assert await pair.agent.read(len(expected)) == expected
        assert code_of(await pair.caller.read_to_end()) == 1009


async def test_no_close_frame_is_written_into_the_middle_of_another_frame(world: World) -> None:
    half = bare(BINARY, b"x" * 1000)[:500]
    async with opened(world) as pair:
        pair.agent.send(half)
        assert await pair.caller.read(len(half)) == half
        pair.caller.send(bare(TEXT, b"unmasked"))
        assert await pair.caller.read_to_end() == b"", "it would be read as part of the frame"
        assert code_of(await pair.agent.read_to_end()) == 1001


async def test_after_a_close_frame_no_second_one_is_written(world: World) -> None:
    goodbye = frame(CLOSE, b"\x03\xe8")
    async with opened(world, timeouts=Timeouts(idle=0.2)) as pair:
        pair.caller.send(goodbye)
        assert await pair.agent.read_to_end() == goodbye
        assert code_of(await pair.caller.read_to_end()) == 1001


EXTENSION = "Sec-WebSocket-Extensions: {}\r\n"


@pytest.mark.parametrize(
    ("chosen", "bits", "passes"),
    [
        ("permessage-deflate; client_max_window_bits=10", 0x40, True),
        ("permessage-deflate", 0x20, False),
        ("x-own-thing", 0x70, True),
        ("", 0x40, False),
    ],
)
async def test_bits_that_an_extension_uses_pass_once_the_agent_has_chosen_it(
    world: World, chosen: str, bits: int, passes: bool
) -> None:
    offer = EXTENSION.format("permessage-deflate, x-own-thing")
    line = EXTENSION.format(chosen) if chosen else ""
    sent = frame(TEXT, b"squeezed", bits=bits)
    async with opened(world, offer=offer, chosen=line) as pair:
        pair.caller.send(sent)
        if passes:
            assert await pair.agent.read(len(sent)) == sent
        else:
            assert code_of(await pair.caller.read_to_end()) == 1002


async def test_a_silent_websocket_is_ended_and_one_that_talks_is_not(world: World) -> None:
    async with opened(world, timeouts=Timeouts(idle=0.3)) as pair:
        for _ in range(4):
            await asyncio.sleep(0.15)
            pair.agent.send(bare(PING))
            await pair.caller.read(2)
        started = asyncio.get_running_loop().time()
        assert code_of(await pair.caller.read_to_end()) == 1001
        assert code_of(await pair.agent.read_to_end()) == 1001
        assert 0.2 < asyncio.get_running_loop().time() - started < 3


async def test_frames_sent_before_the_handshake_is_answered_arrive(world: World) -> None:
    first, second = frame(TEXT, b"with the handshake"), frame(TEXT, b"right after it")
    async with raw_agent(world) as taken, dialled(world, then=first) as caller:
        agent = await taken()
        await agent.head()
        caller.send(second)
        await asyncio.sleep(0.05)
        agent.send(SWITCHING.format(more="").encode() + bare(TEXT, b"at once"))
        assert await agent.read(len(first + second)) == first + second
        await caller.head()
        assert await caller.read(9) == bare(TEXT, b"at once")
        caller.send(frame(TEXT, b"later"))
        assert await agent.read(11) == frame(TEXT, b"later")


@pytest.mark.parametrize("accept", ["", "Sec-WebSocket-Accept: bm9wZQ==\r\n"])
async def test_an_agent_that_only_seems_to_switch_is_no_websocket(
    world: World, accept: str
) -> None:
    async with raw_agent(world) as taken, dialled(world) as caller:
        agent = await taken()
        await agent.head()
        agent.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + accept.encode()
            + b"\r\n"
        )
        check(await read_answer(caller.reader), Code.UPSTREAM_PROTOCOL)
        # To it the connection carries frames now: nobody else's request may follow there.
        assert await agent.read_to_end() == b""


@pytest.mark.parametrize("twice", [f"Sec-WebSocket-Key: {NONCE}", "sec-websocket-version: 13"])
async def test_what_a_handshake_says_twice_reaches_no_agent(world: World, twice: str) -> None:
    async with dialled(world, f"{twice}\r\n") as caller:
        check(await read_answer(caller.reader), Code.BAD_REQUEST)


async def stalls(pair: Pair, flood: bytes) -> int:
    """How many bytes the gateway takes from the agent while nobody reads them."""
    sent = 0
    while sent < 100 * 2**20:
        pair.agent.send(flood)
        sent += len(flood)
        try:
            async with asyncio.timeout(0.5):
                await pair.agent.writer.drain()
        except TimeoutError:
            return sent
    return sent


async def test_a_caller_that_does_not_read_slows_its_agent_down(world: World) -> None:
    flood = bare(BINARY, b"x" * 64 * KIBIBYTE)
    async with opened(world) as pair:
        # So little is read ahead on this side that the gateway feels it.
        pair.caller.reader._limit = 1024  # type: ignore[attr-defined]
        sent = await stalls(pair, flood)
        assert sent < 50 * 2**20
        (held,) = world.gateways[0].data.connections
        assert held.transport is not None
        assert held.transport.get_write_buffer_size() < 512 * KIBIBYTE
        assert await pair.caller.read(sent) == flood * (sent // len(flood))


async def test_what_a_caller_sent_before_it_left_still_arrives(world: World) -> None:
    message = frame(BINARY, b"x" * (LIMIT - 10))
    async with opened(world) as pair:
        # The agent begins to read only after the caller is gone.
        pair.agent.reader._limit = 1024  # type: ignore[attr-defined]
        pair.caller.send(message * 20)
        await pair.caller.writer.drain()
        pair.caller.send(frame(CLOSE, b"\x03\xe8"))
        pair.caller.writer.close()
        assert await pair.agent.read_to_end() == message * 20 + frame(CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("who", ["caller", "agent"])
async def test_an_end_that_breaks_off_ends_the_other(world: World, who: str) -> None:
    async with opened(world) as pair:
        leaves, stays = (pair.caller, pair.agent) if who == "caller" else (pair.agent, pair.caller)
        leaves.writer.transport.abort()
        assert await stays.read_to_end() == b""


@pytest.mark.parametrize("who", ["caller", "agent"])
async def test_who_stays_after_the_end_keeps_no_place(world: World, who: str) -> None:
    message = bare(BINARY, b"x" * 10 * KIBIBYTE) if who == "agent" else frame(BINARY, b"x" * 10)
    async with opened(world) as pair:
        leaves, stays = (pair.caller, pair.agent) if who == "caller" else (pair.agent, pair.caller)
        leaves.send(message)
        leaves.writer.close()
        async with asyncio.timeout(PATIENCE):
            while world.gateways[0].data.connections:
                await asyncio.sleep(0.01)
        assert await stays.read_to_end() == message


async def test_a_message_of_an_agent_may_be_as_large_as_the_limit(
    world: World, app: object
) -> None:
    key = await world.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"{world.url}/agents/chat/socket"
    async with world.session.ws_connect(url, headers=headers) as ws:
        await ws.receive_json()
        await ws.send_bytes(b"x" * LIMIT)
        assert len(await ws.receive_bytes()) == LIMIT
        await ws.send_bytes(b"x" * (LIMIT + 1))
        end = await ws.receive()
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1009)


def test_the_limit_of_a_message_is_a_setting_of_the_listener() -> None:
    assert ListenerLimits().max_message == 16 * 2**20
    assert replace(ListenerLimits(), max_message=1).max_message == 1
