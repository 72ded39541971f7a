"""Nobody can tell from the answer what is wrong with a key that is not valid."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from time import perf_counter

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.settings import StoreSettings
from tests.flows.refusals import check
from tests.flows.services import put
from tests.flows.world import Answer, World, new_world
from tests.flows.wrong_keys import unknown, wrong

ECHO = "GET /agents/echo/x"
NOWHERE = """version: 1
agents: {echo: {upstream: "http://127.0.0.1:9"}}
services: {crm: {upstream: "http://127.0.0.1:9"}}
models: [{name: m, provider: compatible, upstream: "http://127.0.0.1:9/v1"}]
tools: {fc: {transport: http, upstream: "http://127.0.0.1:9/mcp"}}
"""
PING = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
# Where a key is asked for on the data listener, with a body; then on the admin listener.
DATA = {
    "POST /agents/echo/x": "body",
    "POST /services/crm/x": "{}",
    "POST /models/v1/chat/completions": '{"model": "m"}',
    "GET /models/v1/models": "",
    "POST /tools/fc/mcp": PING,
    "POST /tools/no/mcp": PING,
    "GET /v1/credentials?names=crm": "",
    "GET /nothing": "",
}
ADMIN = {"GET /admin/v1/keys": "", "POST /admin/v1/keys": "{}", "GET /admin/v1/nothing": ""}


async def verbatim(
    world: World, *lines: str, place: str = ECHO, body: str = "", admin: bool = False
) -> bytes:
    """The whole answer, byte for byte, but for the request id."""
    gateway = world.gateways[0]
    address = (gateway.admin if admin else gateway.data).address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    with closing(writer):
        framing = (f"Content-Length: {len(body)}",) if body else ()
        more = ("Host: localhost", "Connection: close", *framing, *lines)
        writer.write("\r\n".join((f"{place} HTTP/1.1", *more, "", body)).encode())
        return re.sub(rb"req_[0-9a-f]+", b"req_", await reader.read())


@pytest.mark.parametrize("peppers", [(), (b"p" * 32,)], ids=["bare", "peppered"])
async def test_every_kind_of_invalid_key_gets_the_same_bytes(
    store: StoreSettings, client: Redis, peppers: tuple[bytes, ...]
) -> None:
    async with new_world(store, client, peppers=peppers) as world:
        live, revoked, expired, senseless, suspended, hashless = [
            await world.issue() for _ in range(6)
        ]
        await client.hset(world.record(revoked), "status", "revoked")
        await client.hset(world.record(expired), "expires_at", "1")
        await client.hset(world.record(senseless), "plan", "gone")
        await client.hset(world.record(suspended), "status", "disabled")
        await client.hdel(world.record(hashless), "hash")
        phc = str(await client.hget(world.record(live), "hash"))
        bearer = [
            unknown(),
            *(wrong(key) for key in (live, revoked, expired, senseless, suspended)),
            hashless.text,
            "agk_",
            "agk_live_short",
            live.text[:-1],
            live.text + "0",
            live.text.replace("live", "test"),
            live.text[:-6] + "000000",
            "sk-another-vendors",
            phc,
            "",
        ]
        answers = {await verbatim(world, f"Authorization: Bearer {text}") for text in bearer}
        answers |= {
            await verbatim(world, f"Authorization: Basic {live.text}"),
            await verbatim(world, f"Authorization: {live.text}"),
            await verbatim(world, f"X-API-Key: {live.text}", f"api-key: {wrong(live)}"),
            await verbatim(world, f"x-goog-api-key: {wrong(live)}"),
            await verbatim(world, f"X-API-Key: Bearer {live.text}"),
        }
        assert len(answers) == 1
        assert b'"key_invalid"' in answers.pop()
        good = await verbatim(world, f"x-goog-api-key: {live.text}", "Authorization: Basic eDp5")
        assert good.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("place", "body"), [*DATA.items(), *ADMIN.items()])
async def test_so_it_is_wherever_a_key_is_asked_for(world: World, place: str, body: str) -> None:
    put(world, NOWHERE)
    scopes = ("agents/*", "services/*", "models/*", "tools/*", "gateway/admin")
    live, revoked, decoy = [await world.issue(*scopes) for _ in range(3)]
    await world.client.hset(world.record(revoked), "status", "revoked")
    await world.client.hset(world.record(decoy), "status", "canary")
    answers = {
        await verbatim(world, f"X-API-Key: {text}", place=place, body=body, admin=place in ADMIN)
        for text in (unknown(), wrong(live), wrong(revoked), decoy.text, "agk_live_short", "sk-x")
    }
    assert len(answers) == 1
    assert b"key_invalid" in answers.pop()


async def fastest(call: Callable[[], Awaitable[Answer]]) -> float:
    start = perf_counter()
    check(await call(), Code.KEY_INVALID)
    return perf_counter() - start


async def test_an_unknown_id_takes_as_long_as_a_wrong_secret(world: World) -> None:
    """Interleaved, compared by their lower quartiles: what else runs here only ever adds time."""
    live, dead = await world.issue(), await world.issue()
    await world.client.hset(world.record(dead), "status", "revoked")
    kinds: dict[str, Callable[[], str]] = {
        "unknown": unknown,
        "wrong": lambda: wrong(live),
        "dead": lambda: wrong(dead),
    }
    for _ in range(4):
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(250):
            for kind, make in kinds.items():
                text = make()
                times[kind].append(await fastest(lambda text=text: world.call(text)))
        quartiles = [sorted(taken)[len(taken) // 4] for taken in times.values()]
        if max(quartiles) < 1.1 * min(quartiles):
            return
    pytest.fail(f"they can be told apart: {dict(zip(kinds, quartiles, strict=True))}")
