"""A key that is closed closes what is open: within two seconds, and nobody else's."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.domain.credentials import parse_id
from gateway.domain.keys.key import Key
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.settings import StoreSettings
from gateway.proxy.inflight import SWEEP_SECONDS
from gateway.services.keys.issue import Issuer
from gateway.store.keys import KeyStore
from tests.awake import awake
from tests.flows.agents import agent_that
from tests.flows.own_store import own_store
from tests.flows.raw import read_answer
from tests.flows.services import keep, put
from tests.flows.ticking import BOUND, read_on, ticking_world
from tests.flows.world import World, draw, peppers
from tests.services.vaults import Vault

PATIENCE = 15.0
LISTENS = {"Accept": "text/event-stream"}


@pytest.fixture
async def live(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with ticking_world(store, client) as world:
        yield world


Act = Callable[[World, Key], Awaitable[object]]


def field(name: str, value: str) -> Act:
    async def act(world: World, key: Key) -> object:
        return await world.client.hset(world.record(key), name, value)

    return act


async def delete(world: World, key: Key) -> object:
    return await world.client.delete(world.record(key))


async def expire(world: World, key: Key) -> object:
    seconds, _ = await world.client.time()
    return await world.client.hset(world.record(key), "expires_at", str(seconds))


async def rotate(world: World, key: Key) -> object:
    issuer = Issuer(KeyStore(world.client, world.store.prefix), peppers(world), draw)
    return await issuer.rotate(key.id, 0)


ACTS = {
    "revoked": field("status", "revoked"),
    "disabled": field("status", "disabled"),
    "deleted": delete,
    "expired": expire,
    "narrowed": field("scopes", "agents/other"),
    "rotated without a grace": rotate,
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
async def test_an_event_stream_is_told_why_and_then_cut(live: World, act: Act) -> None:
    key = await live.issue("agents/echo")
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"http://{live.gateways[1].data.address}/agents/echo/ticks"
    async with asyncio.timeout(PATIENCE), live.session.get(url, headers=headers) as answer:
        await answer.content.readuntil(b"\n\n")
        await act(live, key)
        with awake() as passed:
            told, whole = await read_on(answer)
            assert passed() < BOUND
    assert not whole
    events = told.decode().split("\n\n")
    assert events[-1] == ""
    kind, data = events[-2].split("\n")
    assert kind == "event: error"
    error = json.loads(data.removeprefix("data: "))["error"]
    assert error["code"].startswith(("key_", "scope_"))
    assert ("required_scope" in error) == (error["code"] == "scope_denied")
    assert set(events[:-2]) <= {"data: tick"}, "the last word stands between two events"


async def test_a_download_is_cut_so_that_it_does_not_look_whole(live: World) -> None:
    key = await live.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"{live.url}/agents/echo/ticks?raw"
    async with asyncio.timeout(PATIENCE), live.session.get(url, headers=headers) as answer:
        await answer.content.readuntil(b"\n\n")
        await delete(live, key)
        told, whole = await read_on(answer)
    assert not whole
    assert b"error" not in told


async def test_a_stream_of_a_public_route_goes_on_as_there_is_no_key_to_close(live: World) -> None:
    (upstream,) = live.policies.agents["echo"].upstreams
    public = Route(*parse_path("/ticks"), "", frozenset({"GET"}), public=True)
    live.serve(live.agent(upstream=upstream, routes=(public,)))
    ends = time.monotonic() + 2 * SWEEP_SECONDS
    async with live.session.get(f"{live.url}/agents/echo/ticks") as answer:
        while time.monotonic() < ends:
            assert await answer.content.readuntil(b"\n\n") == b"data: tick\n\n"


@pytest.mark.parametrize("act", ["revoked", "narrowed"])
async def test_an_upload_is_cut_and_its_caller_told_why(live: World, act: str) -> None:
    """A request that is kept open by its body would be one more for a key that is closed."""
    got = b""
    begun, over = asyncio.Event(), asyncio.Event()

    async def taking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        with closing(writer), suppress(ConnectionError):
            while piece := await reader.read(65536):
                got += piece
                if got.endswith(b"hello\r\n"):
                    begun.set()
        over.set()

    async with agent_that(taking) as upstream, asyncio.timeout(PATIENCE):
        live.serve(live.agent(upstream=upstream))
        key = await live.issue("agents/echo")
        reader, writer = await asyncio.open_connection(*live.address)
        with closing(writer):
            writer.write(
                b"POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                b"Authorization: Bearer %b\r\n\r\n5\r\nhello\r\n" % key.text.encode()
            )
            await begun.wait()
            await ACTS[act](live, key)
            with awake() as passed:
                answer = await read_answer(reader)
                assert passed() < BOUND
            assert answer.code.startswith(("key_", "scope_"))
            assert (b"agents/echo:invoke" in answer.body) == (act == "narrowed")
            assert await reader.read() == b""
        await over.wait()
    assert got.endswith(b"hello\r\n"), "its end was never sent"


async def test_a_websocket_is_closed_with_1008(live: World) -> None:
    key = await live.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"{live.url}/agents/echo/chat"
    async with asyncio.timeout(PATIENCE), live.session.ws_connect(url, headers=headers) as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
        await field("status", "revoked")(live, key)
        end = await ws.receive()
    assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_a_user_the_key_may_no_longer_act_for_loses_its_stream(live: World) -> None:
    key = await live.issue(users=("u1", "u2"))
    url = f"{live.url}/agents/echo/ticks"

    def headers(user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key.text}", "X-User-Id": user}

    async with (
        asyncio.timeout(PATIENCE),
        live.session.get(url, headers=headers("u1")) as first,
        live.session.get(url, headers=headers("u2")) as second,
    ):
        await field("users", "u2")(live, key)
        told, whole = await read_on(first)
        assert (whole, b"user_denied" in told) == (False, True)
        assert await second.content.readuntil(b"\n\n") == b"data: tick\n\n"


OWN = """version: 1
services:
  crm: {{upstream: "{url}", inject: {{headers: {{X-Token: "${{user.crm.value}}"}}}}}}
tools:
  fc:
    transport: http
    upstream: "{url}/ticks"
    inject: {{headers: {{X-Token: "${{user.crm.value}}"}}}}
"""


@pytest.mark.parametrize("path", ["services/crm/ticks", "tools/fc/mcp"])
async def test_a_user_whose_own_credential_is_removed_loses_the_streams_that_it_opened(
    live: World, path: str
) -> None:
    (upstream,) = live.policies.agents["echo"].upstreams
    put(live, OWN.format(url=f"http://127.0.0.1:{upstream.port}"))
    vault = Vault(live.client)
    for user in ("u1", "u2"):
        await keep(live, vault, f"user/{user}/crm", "api_key", value=f"the value of {user}")
    key = await live.issue("services/*", "tools/*", users=("u1", "u2"))

    def headers(user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key.text}", "X-User-Id": user} | LISTENS

    async with (
        asyncio.timeout(PATIENCE),
        live.session.get(f"{live.url}/{path}", headers=headers("u1")) as first,
        live.session.get(f"{live.url}/{path}", headers=headers("u2")) as second,
    ):
        assert await first.content.readuntil(b"\n\n") == b"data: tick\n\n"
        await vault.delete("user/u1/crm")
        told, whole = await read_on(first)
        assert (whole, b"credential_unavailable" in told) == (False, True)
        assert await second.content.readuntil(b"\n\n") == b"data: tick\n\n"


FALLS_BACK = """version: 1
models:
  - {{name: own, provider: compatible, upstream: "http://127.0.0.1:1",
      credential: "${{user.crm.value}}", fallback: [shared]}}
  - {{name: shared, provider: compatible, upstream: "{url}"}}
"""


async def test_a_stream_of_a_model_that_stood_in_needs_no_credential_of_the_one_before(
    live: World,
) -> None:
    (upstream,) = live.policies.agents["echo"].upstreams
    put(live, FALLS_BACK.format(url=f"http://127.0.0.1:{upstream.port}"))
    vault = Vault(live.client)
    await keep(live, vault, "user/u1/crm", "api_key", value="the value of u1")
    key = await live.issue("models/*", users=("u1",))
    headers = {"Authorization": f"Bearer {key.text}", "X-User-Id": "u1"}
    url = f"{live.url}/models/v1/chat/completions"
    async with (
        asyncio.timeout(PATIENCE),
        live.session.post(url, headers=headers, json={"model": "own"}) as answer,
    ):
        await vault.delete("user/u1/crm")
        while parse_id("user/u1/crm") in live.gateways[0].base.credentials.known:
            await asyncio.sleep(0.05)
        # Cut, it would not last so long.
        with suppress(TimeoutError):
            async with asyncio.timeout(BOUND + SWEEP_SECONDS):
                while True:
                    assert await answer.content.readuntil(b"\n\n") == b"data: tick\n\n"


async def test_other_keys_and_the_new_secret_stream_on(live: World) -> None:
    key, other = await live.issue(), await live.issue()
    url = f"{live.url}/agents/echo/ticks"
    old, others = ({"Authorization": f"Bearer {one.text}"} for one in (key, other))
    async with (
        asyncio.timeout(PATIENCE),
        live.session.get(url, headers=others) as answer,
        live.session.get(url, headers=old) as closed,
    ):
        await rotate(live, key)
        assert not (await read_on(closed))[1]
        for _ in range(20):
            assert await answer.content.readuntil(b"\n\n") == b"data: tick\n\n"


async def test_the_old_secret_streams_until_its_grace_ends(live: World) -> None:
    key = await live.issue()
    url = f"{live.url}/agents/echo/ticks"
    headers = {"Authorization": f"Bearer {key.text}"}
    async with asyncio.timeout(PATIENCE), live.session.get(url, headers=headers) as answer:
        issuer = Issuer(KeyStore(live.client, live.store.prefix), peppers(live), draw)
        await issuer.rotate(key.id, 3)
        began = time.monotonic()
        told, whole = await read_on(answer)
    assert not whole
    assert b"key_invalid" in told
    # Redis' seconds are whole: a grace of three begins up to one before.
    assert 2.0 < time.monotonic() - began < 3 + BOUND


async def test_a_stream_outlives_a_store_that_is_away_for_a_moment_only() -> None:
    unchecked = 1.5
    async with (
        own_store() as store,
        ticking_world(
            store.settings, store.client, stream_unchecked=unchecked, store_timeout=0.2
        ) as world,
        asyncio.timeout(PATIENCE),
    ):
        key = await world.issue()
        headers = {"Authorization": f"Bearer {key.text}"}
        async with world.session.get(f"{world.url}/agents/echo/ticks", headers=headers) as answer:
            await answer.content.readuntil(b"\n\n")
            began = time.monotonic()
            store.freeze()
            told, whole = await read_on(answer)
            store.thaw()
    assert time.monotonic() - began > unchecked - SWEEP_SECONDS
    assert (whole, b"store_unavailable" in told) == (False, True)


def test_the_bound_is_kept_by_the_sweep() -> None:
    assert SWEEP_SECONDS < BOUND
