"""Bodies that are held whole: for whom, how much of them at once, and for how long."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import GatewayError
from gateway.domain.keys.key import Key
from gateway.domain.settings import ListenerLimits, StoreSettings
from gateway.proxy.large_bodies import LargeBodies
from tests.flows.agents import agent_that
from tests.flows.audit import come
from tests.flows.callers import caller, sending
from tests.flows.leftovers import nothing_left
from tests.flows.services import keep, put
from tests.flows.sockets import End
from tests.flows.world import World, new_world
from tests.services.vaults import Vault

SIZE = 2_000_000
BOUND = 5.0
PATHS = {
    "models": "/models/v1/completions",
    "services": "/services/crm/x",
    "tools": "/tools/fc/mcp",
}
MESSAGE = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
BODY = json.dumps(
    {**MESSAGE, "model": "local", "params": {"name": "x", "arguments": {"a": "x" * SIZE}}}
).encode()


@contextmanager
def uncollected() -> Iterator[Callable[[], int]]:
    """How many bytes of what is made meanwhile are still there, where no collector comes by."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


def large(world: World) -> LargeBodies:
    handler: Any = world.gateways[0].data._callbacks.serve
    return cast(LargeBodies, handler.__self__._models._large)


@asynccontextmanager
async def answering(world: World, answer: bytes = b"") -> AsyncIterator[None]:
    """A model, a service and a server of tools that read a request to its end and answer this, cut;
    empty: nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while left:
                left -= len(await reader.read(left))
            writer.write(answer)
            await (reader.read() if not answer else writer.drain())

    async with agent_that(serve) as upstream:
        url = f"http://{upstream.authority}"
        common = {"upstream": url, "timeouts": {"first_byte": "500ms"}}
        inject = {"body": {"token": "${credentials.crm.value}"}}
        policy = {
            "version": 1,
            "models": [{"name": "local", "provider": "compatible", **common}],
            "services": {"crm": {"inject": inject, **common}},
            "tools": {"fc": {"transport": "http", **common}},
        }
        await keep(world, Vault(world.client), "crm", "api_key", value="v" * 30)
        put(world, json.dumps(policy))
        yield


def begins(key: Key, plane: str, sent: bytes, size: int, *more: str) -> bytes:
    """A request of `size` bytes, of which `sent` are there."""
    lines = (
        f"POST {PATHS[plane]} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key.text}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {size}",
        *more,
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + sent


async def leaves(end: End) -> None:
    await asyncio.sleep(0.3)
    end.writer.transport.abort()


async def is_answered(end: End) -> None:
    await end.head()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
WHOLE = ANSWER % (2, b"{}")
CUT = ANSWER % (SIZE + 10, b"1" * SIZE)


@pytest.mark.parametrize("plane", PATHS)
@pytest.mark.parametrize(
    "sent, answer, then, more",
    [
        (BODY[:-10], b"", leaves, ()),
        (BODY[:-10], b"", is_answered, ()),
        (BODY, b"", leaves, ()),
        (BODY, b"", is_answered, ()),
        (BODY, CUT, is_answered, ()),
        (BODY, WHOLE, is_answered, ("Connection: close",)),
        (b"x" * len(BODY), b"", is_answered, ()),
    ],
    ids=["midway", "too slow", "left", "timed out", "cut", "closed", "no JSON"],
)
async def test_what_was_held_is_gone_with_its_request_and_waits_for_no_collector(
    store: StoreSettings,
    client: Redis,
    plane: str,
    sent: bytes,
    answer: bytes,
    then: Callable[[End], Awaitable[None]],
    more: tuple[str, ...],
) -> None:
    """It counts no more then, and others hold theirs in its place."""
    limits = ListenerLimits(body_idle=0.5)
    async with new_world(store, client, limits=limits) as world, answering(world, answer):
        key = await world.issue("*")
        with uncollected() as left:
            async with caller(world) as end:
                end.send(begins(key, plane, sent, len(BODY), *more))
                await then(end)
            async with asyncio.timeout(BOUND):
                while left() > SIZE / 2:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("plane", PATHS)
async def test_a_request_leaves_no_error_to_the_collector(world: World, plane: str) -> None:
    """One in a cycle keeps what its frames hold; which those are differs between Pythons."""
    async with answering(world, WHOLE), caller(world) as end:
        key = await world.issue("*")
        for saved in (False, True):
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL if saved else 0)
            end.send(begins(key, plane, BODY[:-10], len(BODY)))
            await asyncio.sleep(0.1)
            end.send(BODY[-10:])
            await end.head()
            await end.reader.readexactly(2)
        try:
            gc.collect()
            assert not [one for one in gc.garbage if isinstance(one, GatewayError)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()


@pytest.mark.parametrize("plane", PATHS)
async def test_a_body_that_says_it_is_too_large_is_refused_unread(world: World, plane: str) -> None:
    async with answering(world), caller(world) as end:
        key = await world.issue("*")
        end.send(begins(key, plane, b"", 100_000_000, "Expect: 100-continue"))
        assert (await end.head()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("plane", PATHS)
async def test_a_body_is_read_no_further_once_its_key_is_revoked(world: World, plane: str) -> None:
    """However slowly it comes: what is held of it is given back."""
    async with answering(world), caller(world) as end:
        key = await world.issue("*")
        end.send(begins(key, plane, BODY[:200_000], len(BODY)))
        await asyncio.sleep(0.3)
        await world.client.hset(world.record(key), "status", "revoked")
        async with sending(end, b"x", every=0.1), asyncio.timeout(BOUND):
            assert (await end.head()).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("plane", PATHS)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_small_body_is_taken_where_others_hold_all_that_may_be_held(
    store: StoreSettings, client: Redis, plane: str, pieces: int
) -> None:
    limits = ListenerLimits(max_held=400_000)
    async with (
        new_world(store, client, limits=limits) as world,
        answering(world, WHOLE),
        caller(world) as small,
    ):
        for other in ("one", "another"):
            large(world).take(other, 200_000)
        body = json.dumps({**json.loads(BODY), "params": {"name": "x"}}).encode()
        step = len(body) // pieces + 1
        small.send(begins(await world.issue("*"), plane, body[:step], len(body)))
        for at in range(step, len(body), step):
            await asyncio.sleep(0.1)
            small.send(body[at : at + step])
        assert (await small.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("plane", PATHS)
async def test_it_is_on_record_whose_body_found_no_room(
    store: StoreSettings, client: Redis, plane: str
) -> None:
    limits = ListenerLimits(max_held=400_000)
    async with (
        new_world(store, client, limits=limits) as world,
        answering(world),
        caller(world) as end,
    ):
        key = await world.issue("*")
        large(world).take(key.id, 200_000)
        end.send(begins(key, plane, BODY[:200_000], len(BODY)))
        assert (await end.head()).startswith(b"HTTP/1.1 503 ")
        (denied,) = await come(world, "request.denied", 1)
        assert (denied["key_id"], denied["consumer"]) == (key.id, "sales")
        assert denied["code"] == "busy"


async def test_what_a_model_does_not_take_is_gone_with_its_caller(world: World) -> None:
    """What a caller has left is read on for a while, for what the answer says it took: not where
    the request itself still lies with us."""
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            await over.wait()

    async with agent_that(deaf) as upstream:
        url = f"http://{upstream.authority}"
        model = {"name": "local", "provider": "compatible", "upstream": url}
        put(world, json.dumps({"version": 1, "models": [model]}))
        key = await world.issue("*")
        body = json.dumps({"model": "local", "x": "x" * 16_000_000}).encode()
        async with nothing_left(world), caller(world) as end:
            end.send(begins(key, "models", body, len(body)))
            await end.writer.drain()
            await asyncio.sleep(0.5)
        over.set()
