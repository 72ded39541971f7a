"""Nothing is open but what is meant to be: every other address wants a key, whatever the method."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.key import compose
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import StoreSettings
from gateway.protocol.http.methods import METHODS
from tests.flows.raw import read_answer
from tests.flows.world import World, new_world
from tests.raw_http.recorder import Recorder, recording

PATHS = [
    *(
        "/",
        "/agents",
        "/agents/",
        "/agents/echo",
        "/agents/echo/",
        "/agents/echo/x",
        "/agents/no/x",
    ),
    *("/agents/echo/open", "/agents/echo/open/", "/agents/echo/OPEN", "/agents/echo/%6fpen"),
    *("/agents/echo/open/x", "/agents/echo/open?x", "/agents/echo/files/a", "/agents/echo/files/"),
    *("/livez/", "/readyz/x", "/Livez", "/livez%20", "/metrics", "/console/", "/admin/v1/keys"),
    *(
        "/models/v1/models",
        "/services/crm/x",
        "/tools/fc/mcp",
        "/v1/credentials?names=crm",
        "/favicon.ico",
    ),
    *("/agents/echo/livez", "/.well-known/x"),
]
CATALOGUE = "/models/v1/models"
HANDSHAKE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
OPEN = {("GET", "/agents/echo/open"), ("GET", "/agents/echo/open?x")}


@pytest.fixture
async def agent() -> AsyncIterator[Recorder]:
    async with recording() as made:
        yield made


@pytest.fixture
async def world(store: StoreSettings, client: Redis, agent: Recorder) -> AsyncIterator[World]:
    async with new_world(store, client) as made:
        upstream = Upstream("http", "127.0.0.1", agent.port)
        lines = (
            Route(*parse_path("/open"), "", frozenset({"GET"}), public=True),
            Route(*parse_path("/files/*"), "files"),
            Route(*parse_path("/**"), "use", frozenset({"GET", "POST"})),
        )
        made.serve(made.agent(upstream=upstream, routes=lines, hosts=("echo.test",)))
        yield made


async def status(world: World, method: str, path: str, *lines: str) -> int:
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        head = (f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", *lines, "", "")
        writer.write("\r\n".join(head).encode())
        return (await read_answer(reader, body=False)).status


CALLS = [(method, path) for path in PATHS for method in sorted(METHODS)]


async def test_without_a_good_key_there_is_one_answer_and_the_agent_hears_nothing(
    world: World, agent: Recorder
) -> None:
    unknown = compose("live", "abcdefghijkl", "x" * 32).text
    page = ("Origin: https://a.test", "Access-Control-Request-Method: GET")
    for lines in (
        (),
        (f"Authorization: Bearer {unknown}",),
        ("Authorization: Bearer x",),
        ("X-API-Key: agk_live_short",),
        page,
    ):
        for method, path in CALLS:
            if (method, path) not in OPEN:
                # Tools are not for pages of other sites, whoever they are.
                of_page = lines is page and path.startswith("/tools/")
                wanted = 403 if of_page else 401
                assert await status(world, method, path, *lines) == wanted, (method, path, lines)
    for path in PATHS:
        if ("GET", path) not in OPEN:
            assert await status(world, "GET", path, *HANDSHAKE) == 401, path
    assert agent.requests == []
    for method, path in OPEN:
        assert await status(world, method, path) == 200


async def test_a_key_without_the_scope_opens_nothing_either(world: World, agent: Recorder) -> None:
    key = await world.issue("agents/other", "agents/ech", "agents/echo2", "models/echo")
    for method, path in CALLS:
        if (method, path) not in OPEN:
            answered = await status(world, method, path, f"Authorization: Bearer {key.text}")
            listed = path == CATALOGUE and method in ("GET", "HEAD")
            assert answered == 200 if listed else answered in (403, 404, 405), (method, path)
    assert agent.requests == []
    answer = await world.call(key, CATALOGUE)
    assert answer.json["data"] == [], "it tells each key of its own models, and of no other"


async def test_an_agents_own_host_has_the_gateways_own_addresses_too(
    world: World, agent: Recorder
) -> None:
    for host in ("echo.test", "ECHO.test:8443"):
        for path in ("/livez", "/readyz"):
            answer = await world.call(None, path, headers={"Host": host})
            assert (answer.status, answer.json) == (200, {"status": "ok"})
            assert answer.headers["X-Request-Id"] == answer.headers["request-id"]
        key = await world.issue()
        answer = await world.call(key, "/connect/token", headers={"Host": host})
        assert answer.status == 404 and answer.headers["X-Request-Id"]
    assert agent.requests == []
    assert (await world.call(key, "/agents/x", headers={"Host": "echo.test"})).status == 200
    assert [request.target for request in agent.requests] == [b"/agents/x"]


async def test_an_answer_that_ends_its_connection_for_the_gateway_ends_says_so(
    world: World,
) -> None:
    """Also to whoever asked before: it is the last that is heard on this connection."""
    gateway = world.gateways[0]
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        await world.client.client_pause(300)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        while not any(one.busy for one in gateway.data.connections):
            await asyncio.sleep(0.001)
        gateway.announce_end()
        answer = await read_answer(reader)
    assert answer.headers["Connection"] == "close"
    assert (answer.status, answer.json["missing"]) == (503, ["draining"])
