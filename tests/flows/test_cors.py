"""Browsers: which pages of other sites may call an agent, and what their code can read."""

import pytest
from aiohttp import web

from gateway.domain.errors import Code
from gateway.domain.keys.limits import Limits, Rate
from gateway.domain.policies.cors import Cors
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Upstream
from tests.flows.raw import exchange
from tests.flows.refusals import check
from tests.flows.world import Answer, World, listening, routes

PAGE = "https://app.example.com"
STRANGER = "https://evil.example.com"
CORS = Cors(frozenset({PAGE.encode(), b"http://localhost:3000"}), ("Content-Type",))
ALLOW = "Access-Control-Allow-"


async def preflight(
    world: World, path: str, origin: str = PAGE, method: str = "POST", **headers: str
) -> Answer:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, **headers}
    return await world.call(None, path, "OPTIONS", headers=asked)


def is_readable(answer: Answer, origin: str = PAGE) -> bool:
    """Whether a browser hands the answer to the code of that page."""
    told = answer.headers.getall(f"{ALLOW}Origin", [])
    assert len(told) <= 1, "browsers fail on two"
    return told in ([origin], ["*"])


def granted(answer: Answer, what: str) -> set[str]:
    return {item.strip() for item in answer.headers.get(f"{ALLOW}{what}", "").split(",")} - {""}


async def test_a_preflight_is_answered_before_the_key_and_never_reaches_the_agent(
    world: World,
) -> None:
    world.serve(world.agent(cors=CORS, upstream=Upstream("http", "127.0.0.1", 1)))
    answer = await preflight(world, "/agents/echo/chat?x=1")
    assert (answer.status, answer.body) == (204, b"")
    assert is_readable(answer)
    assert "Content-Length" not in answer.headers
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert granted(answer, "Methods") == {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    }  # fmt: skip
    assert granted(answer, "Headers") >= {"Content-Type", "Authorization", "X-API-Key"}
    assert "X-Other" not in granted(answer, "Headers")
    assert f"{ALLOW}Credentials" not in answer.headers
    assert answer.headers["X-Request-Id"].startswith("req_")


async def test_a_preflight_names_each_header_once(world: World) -> None:
    """Listing a header for keys, which a page may always send, changes nothing."""
    cors = Cors(frozenset({PAGE.encode()}), ("x-api-key", "X-Other"))
    world.serve(world.agent(cors=cors))
    named = (await preflight(world, "/agents/echo/x")).headers[f"{ALLOW}Headers"].lower()
    assert (named.count("x-api-key"), named.count("x-other")) == (1, 1)


async def test_a_preflight_costs_nothing_and_what_key_it_carries_is_not_read(
    world: World,
) -> None:
    world.serve(world.agent(cors=CORS), plans={"p": Plan("p", Limits(Rate(1, 3600)))})
    key = await world.issue(plan="p")
    for text in [key.text] * 3 + ["agk_live_garbage"]:
        answer = await preflight(world, "/agents/echo/x", Authorization=f"Bearer {text}")
        assert answer.status == 204
    assert (await world.call(key)).status == 200


async def test_a_preflight_names_the_methods_of_the_routes_for_its_path(world: World) -> None:
    public = Route(*parse_path("/chat"), "invoke", frozenset({"GET"}), public=True)
    listed = routes(("/chat", "POST", "chat"), ("/files/**", "PUT DELETE", "files"))
    world.serve(world.agent(cors=CORS, routes=(public, *listed, *routes(("/any", "", "any")))))
    for path, methods in (
        ("/chat", {"GET", "POST"}),
        ("/files/a/b", {"PUT", "DELETE"}),
        ("/nowhere", set()),
    ):
        answer = await preflight(world, f"/agents/echo{path}")
        assert (answer.status, granted(answer, "Methods")) == (204, methods)
    assert "PATCH" in granted(await preflight(world, "/agents/echo/any"), "Methods")


async def test_a_preflight_that_is_not_granted_tells_nothing_of_what_exists(world: World) -> None:
    world.serve(world.agent("with", cors=CORS), world.agent("without"))
    seen = []
    for path, origin in (
        ("/agents/with/x", STRANGER),
        ("/agents/with/x", "null"),
        ("/agents/with/x", f"{PAGE}, {PAGE}"),
        ("/agents/with/x", f"{PAGE}.evil.com"),
        ("/agents/with/x", "http://app.example.com"),
        ("/agents/without/x", PAGE),
        ("/agents/nobody/x", PAGE),
    ):
        answer = await preflight(world, path, origin)
        check(answer, Code.KEY_MISSING)
        names = sorted(name.lower() for name in answer.headers)
        seen.append((names, answer.json["error"]))
    assert all(one == seen[0] for one in seen)
    assert not [name for name in seen[0][0] if name.startswith("access-control") or name == "vary"]


async def test_any_origin_may_be_let_in_but_only_without_credentials(world: World) -> None:
    world.serve(
        world.agent("open", cors=Cors(frozenset({b"*"}), max_age=0)),
        world.agent("cookies", cors=Cors(frozenset({PAGE.encode()}), credentials=True)),
    )
    answer = await preflight(world, "/agents/open/x", STRANGER)
    assert answer.headers[f"{ALLOW}Origin"] == "*"
    assert answer.headers["Access-Control-Max-Age"] == "0"
    answer = await preflight(world, "/agents/cookies/x")
    assert answer.headers[f"{ALLOW}Origin"] == PAGE
    assert answer.headers[f"{ALLOW}Credentials"] == "true"


async def test_without_both_headers_options_is_a_method_like_any_other(world: World) -> None:
    world.serve(world.agent(cors=CORS))
    key = await world.issue()
    for headers in ({}, {"Origin": PAGE}, {"Access-Control-Request-Method": "POST"}):
        check(await world.call(None, method="OPTIONS", headers=headers), Code.KEY_MISSING)
        answer = await world.call(key, method="OPTIONS", headers=headers)
        assert answer.json["method"] == "OPTIONS"


async def test_where_there_is_no_cors_the_agent_may_answer_preflights_itself(world: World) -> None:
    public = Route(*parse_path("/chat"), "x", frozenset({"OPTIONS"}), public=True)
    world.serve(world.agent(routes=(public, *routes(("/chat", "POST", "chat")))))
    answer = await preflight(world, "/agents/echo/chat")
    assert answer.received["origin"] == [PAGE]
    assert answer.received["access-control-request-method"] == ["POST"]


async def test_a_page_that_is_let_in_can_read_every_refusal(world: World) -> None:
    world.serve(
        world.agent(cors=CORS, routes=routes(("/chat", "POST", "chat"), ("/hello", "GET", "x"))),
        world.agent("down", cors=CORS, upstream=Upstream("http", "127.0.0.1", 1)),
        plans={"p": Plan("p", Limits(Rate(1, 3600)))},
    )
    key, other = await world.issue(), await world.issue("agents/other")
    limited = await world.issue(plan="p")
    await world.call(limited)
    page = {"Origin": PAGE}
    for answer, code in (
        (await world.call(None, headers=page), Code.KEY_MISSING),
        (await world.call("agk_live_garbage", headers=page), Code.KEY_INVALID),
        (await world.call(other, headers=page), Code.SCOPE_DENIED),
        (await world.call(key, "/agents/echo/nowhere", headers=page), Code.NOT_FOUND),
        (await world.call(key, "/agents/echo/chat", headers=page), Code.METHOD_NOT_ALLOWED),
        (await world.call(key, "/agents/echo/a%2Fb", headers=page), Code.BAD_REQUEST),
        (await world.call(key, headers=page | {"X-User-Id": "a b"}), Code.BAD_REQUEST),
        (await world.call(key, f"/agents/echo/hello?{key.text}", headers=page), Code.BAD_REQUEST),
        (await world.call(key, method="TRACE", headers=page), Code.METHOD_NOT_ALLOWED),
        (await world.call(limited, headers=page), Code.RATE_LIMITED),
        (await world.call(key, "/agents/down/x", headers=page), Code.UPSTREAM_UNREACHABLE),
    ):
        check(answer, code)
        assert is_readable(answer), code
        exposed = {h.strip() for h in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed >= {"X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"}
    for answer in (
        await world.call(None, headers={"Origin": STRANGER}),
        await world.call(key, "/agents/nobody/x", headers=page),
        await world.call(key, "/agents/echo/nowhere"),
        await world.call(None, headers={"Origin": STRANGER, "X-User-Id": "a b"}),
        await world.call(None, "/agents/nobody/x", headers=page | {"X-User-Id": "a b"}),
    ):
        assert f"{ALLOW}Origin" not in answer.headers


@pytest.mark.parametrize("code", [Code.URL_TOO_LONG, Code.HEAD_TOO_LARGE])
async def test_a_page_that_is_let_in_can_read_that_its_request_is_too_large(
    world: World, code: Code
) -> None:
    world.serve(world.agent(cors=CORS))
    line, more = b"GET /agents/echo/x?q=%b HTTP/1.1\r\n", b"\r\n"
    query = b"a" * 9000 if code is Code.URL_TOO_LONG else b""
    cookie = b"Cookie: a=%b\r\n" % (b"a" * 9000) if code is Code.HEAD_TOO_LARGE else b""
    for origin, allowed in ((PAGE, True), (STRANGER, False), (f"{PAGE}\r\nOrigin: {PAGE}", False)):
        fields = b"Host: x\r\nOrigin: " + origin.encode() + b"\r\n" + cookie
        answer = await exchange(world.address, line % query + fields + more)
        check(answer, code)
        assert is_readable(answer) == allowed


async def test_the_gateways_word_replaces_the_agents_own(world: World) -> None:
    async def lax(request: web.Request) -> web.Response:
        headers = {
            f"{ALLOW}Origin": "*",
            f"{ALLOW}Credentials": "true",
            "Access-Control-Expose-Headers": "X-Secret",
            "Vary": "Accept",
            "X-Agent": "lax",
        }
        return web.Response(text=request.headers.get("Origin", ""), headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", lax)
    async with listening(app) as port:
        upstream = Upstream("http", "127.0.0.1", port)
        world.serve(
            world.agent("ours", cors=CORS, upstream=upstream),
            world.agent("own", upstream=upstream),
        )
        key = await world.issue()
        answer = await world.call(key, "/agents/ours/x", headers={"Origin": PAGE})
        assert (answer.body.decode(), answer.headers["X-Agent"]) == (PAGE, "lax")
        assert answer.headers.getall(f"{ALLOW}Origin") == [PAGE]
        assert f"{ALLOW}Credentials" not in answer.headers
        assert "X-Secret" not in answer.headers.getall("Access-Control-Expose-Headers")
        assert set(answer.headers.getall("Vary")) == {"Accept", "Origin"}
        for origin in ({"Origin": STRANGER}, {}):
            answer = await world.call(key, "/agents/ours/x", headers=origin)
            assert answer.status == 200
            assert not [n for n in answer.headers if n.lower().startswith("access-control")]
            assert "Origin" in answer.headers.getall("Vary"), "a cache must not mix the two up"
        answer = await world.call(key, "/agents/own/x", headers={"Origin": PAGE})
        assert answer.headers.getall(f"{ALLOW}Origin") == ["*"]


@pytest.mark.parametrize("origin", [PAGE, STRANGER])
async def test_an_agent_with_a_host_of_its_own_is_asked_in_the_same_way(
    world: World, origin: str
) -> None:
    world.serve(world.agent(cors=CORS, hosts=("echo.test",), routes=routes(("/a", "PUT", "a"))))
    answer = await preflight(world, "/a", origin, Host="echo.test:8080")
    refused = await world.call(None, "/a", headers={"Origin": origin, "Host": "echo.test"})
    check(refused, Code.KEY_MISSING)
    if origin == PAGE:
        assert (answer.status, granted(answer, "Methods")) == (204, {"PUT"})
        assert is_readable(refused)
    else:
        check(answer, Code.KEY_MISSING)
        assert f"{ALLOW}Origin" not in refused.headers
