"""Every denial of the contract: status, body, headers, and the order in which they come."""

import asyncio
import json
import re
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.keys.key import compose
from gateway.domain.keys.limits import Limits, Quota, Rate, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Timeouts, Upstream
from gateway.domain.settings import ListenerLimits, StoreSettings
from tests.flows.raw import exchange
from tests.flows.refusals import check
from tests.flows.world import World, new_world, routes


@pytest.mark.denial("key_missing")
async def test_no_key(world: World) -> None:
    answer = await world.call(None)
    check(answer, Code.KEY_MISSING)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.denial("key_invalid")
async def test_unknown_id_wrong_secret_and_garbage_are_one_and_the_same(world: World) -> None:
    key = await world.issue()
    assert (await world.call(key)).status == 200
    wrong = compose("live", key.id, "x" * 32).text
    unknown = compose("live", "unknownid000", "x" * 32).text
    answers = [
        await world.call(text)
        for text in (wrong, unknown, "agk_live_garbage", "sk-of-somebody", key.text[:-1] + "!")
    ]
    for answer in answers:
        check(answer, Code.KEY_INVALID)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    shapes = {
        (
            json.dumps(answer.json["error"]),
            tuple(sorted(set(answer.headers) - {"X-Request-Id", "request-id", "Content-Length"})),
        )
        for answer in answers
    }
    assert len(shapes) == 1


async def test_two_different_keys(world: World) -> None:
    first, second = await world.issue(), await world.issue()
    answer = await world.call(first, headers={"X-API-Key": second.text})
    check(answer, Code.KEY_INVALID)
    assert (await world.call(first, headers={"X-API-Key": first.text})).status == 200


async def test_the_hash_is_no_key(world: World, client: Redis) -> None:
    key = await world.issue()
    phc = await client.hget(world.record(key), "hash")
    assert phc
    check(await world.call(phc), Code.KEY_INVALID)


async def test_identity_comes_before_what_exists(world: World) -> None:
    check(await world.call(None, "/agents/nobody/x"), Code.KEY_MISSING)
    check(await world.call("agk_live_x", "/agents/nobody/x"), Code.KEY_INVALID)


@pytest.mark.denial("not_found")
@pytest.mark.parametrize(
    "path", ["/agents/nobody/x", "/", "/agents", "/models/v1/x", "/Agents/echo/x"]
)
async def test_no_such_agent(world: World, path: str) -> None:
    check(await world.call(await world.issue(), path), Code.NOT_FOUND)


async def test_a_path_without_a_route(world: World) -> None:
    world.serve(world.agent(routes=routes(("/chat", "POST", "chat"))))
    check(await world.call(await world.issue(), "/agents/echo/other"), Code.NOT_FOUND)


@pytest.mark.denial("method_not_allowed")
async def test_a_route_without_that_method(world: World) -> None:
    world.serve(world.agent(routes=routes(("/chat", "POST PUT", "chat"))))
    answer = await world.call(await world.issue(), "/agents/echo/chat")
    check(answer, Code.METHOD_NOT_ALLOWED)
    assert answer.headers["Allow"] == "POST, PUT"


@pytest.mark.denial("scope_denied")
async def test_a_scope_that_is_not_there(world: World) -> None:
    world.serve(world.agent(routes=routes(("/chat", "POST", "chat"), ("/files/**", "", "files"))))
    key = await world.issue("agents/echo:chat")
    assert (await world.call(key, "/agents/echo/chat", "POST")).status == 200
    error = check(await world.call(key, "/agents/echo/files/a/b"), Code.SCOPE_DENIED)
    assert error["required_scope"] == "agents/echo:files"


async def test_the_method_is_judged_before_the_scope(world: World) -> None:
    world.serve(world.agent(routes=routes(("/chat", "POST", "chat"))))
    key = await world.issue("agents/other")
    check(await world.call(key, "/agents/echo/chat"), Code.METHOD_NOT_ALLOWED)


@pytest.mark.denial("user_denied")
async def test_a_user_the_key_may_not_act_for(world: World) -> None:
    key = await world.issue(users=("u1", "u2"))
    allowed = await world.call(key, headers={"X-User-Id": "u2"})
    assert allowed.received["x-gateway-user"] == ["u2"]
    assert "x-user-id" not in allowed.received
    check(await world.call(key, headers={"X-User-Id": "u3"}), Code.USER_DENIED)
    anyone = await world.issue(users=("*",))
    assert (await world.call(anyone, headers={"X-User-Id": "u3"})).status == 200
    nobody = await world.issue()
    check(await world.call(nobody, headers={"X-User-Id": "u1"}), Code.USER_DENIED)


async def test_the_scope_is_judged_before_the_user(world: World) -> None:
    key = await world.issue("agents/other")
    check(await world.call(key, headers={"X-User-Id": "u1"}), Code.SCOPE_DENIED)


@pytest.mark.denial("key_misconfigured")
async def test_a_record_that_makes_no_sense_is_judged_before_the_place(
    world: World, client: Redis
) -> None:
    key = await world.issue()
    await client.hset(world.record(key), "plan", "gone")
    check(await world.call(key, "/agents/nobody/x"), Code.KEY_MISCONFIGURED)


@pytest.mark.denial("bad_request")
@pytest.mark.parametrize(
    "path",
    ["/agents/echo/a%2fb", "/agents/echo/a//b", "/agents/echo/%2e%2e/x", "/agents/echo/a;b"],
)
async def test_an_ambiguous_path_is_refused_before_the_key(world: World, path: str) -> None:
    answer = await exchange(world.address, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    check(answer, Code.BAD_REQUEST)


@pytest.mark.parametrize(
    "head",
    [
        "GET /a;b HTTP/1.1",
        "GET /a%2Fb HTTP/1.1",
        "GET /a% HTTP/1.1",
        "GET /%2e%2e/b HTTP/1.1",
        "GET /%252e HTTP/1.1",
        "GET /%01 HTTP/1.1",
        "GET /%ff HTTP/1.1",
        "GET /%ef%bc%8f HTTP/1.1",
        "PROPFIND / HTTP/1.1",
        "GET / HTTP/1.1\r\nX-API-Key: a\r\nX-API-Key: b",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
    ],
)
async def test_who_is_refused_for_the_form_of_a_request_is_told_what_to_do_next(
    world: World, head: str
) -> None:
    answer = await exchange(world.address, f"{head}\r\nHost: x\r\n\r\n".encode())
    told = answer.json["error"]["message"]
    assert re.search(r"\. (Encode|Leave|Resolve|Send|Use|Write) .+\.$", told), told


async def test_an_agent_may_ask_for_an_odd_spelling_and_gets_it_byte_for_byte(
    world: World,
) -> None:
    world.serve(world.agent(allowed_oddities=frozenset({"//", "%2F"})), world.agent("strict"))
    key = await world.issue()
    head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n\r\n"
    odd = await exchange(world.address, f"GET /agents/echo/a//b%2fc?x=%2e {head}".encode())
    assert odd.json["path"] == "/a//b%2fc?x=%2e"
    refused = await exchange(world.address, f"GET /agents/strict/a//b {head}".encode())
    check(refused, Code.BAD_REQUEST)
    dots = await exchange(world.address, f"GET /agents/echo/a%2f..%2fb {head}".encode())
    check(dots, Code.BAD_REQUEST)


async def test_a_key_in_the_url_is_refused(world: World) -> None:
    key = await world.issue()
    answer = await world.call(key, f"/agents/echo/x?key={key.text}")
    check(answer, Code.BAD_REQUEST)
    assert key.text not in answer.body.decode()


@pytest.mark.denial("rate_limited")
async def test_a_rate(world: World) -> None:
    world.serve(world.agent(), plans={"slow": Plan("slow", Limits(Rate(1, 60), 2))})
    key = await world.issue(plan="slow")
    admitted = await world.call(key)
    assert admitted.headers["RateLimit-Policy"] == '"rate";q=2;w=120'
    assert admitted.headers["RateLimit"] == '"rate";r=1;t=60'
    assert admitted.headers["X-RateLimit-Limit"] == "2"
    assert admitted.headers["X-RateLimit-Remaining"] == "1"
    assert admitted.headers["X-RateLimit-Reset"] == "60"
    await world.call(key)
    refused = await world.call(key)
    error = check(refused, Code.RATE_LIMITED)
    assert 59 <= int(refused.headers["Retry-After"]) <= 60
    assert f"Wait for {refused.headers['Retry-After']} s." in error["message"]
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert "x-should-retry" not in refused.headers


@pytest.mark.denial("quota_exhausted")
async def test_a_quota(world: World) -> None:
    limits = Limits(quotas=(Quota(2, Window.MONTH), Quota(50, Window.DAY)))
    world.serve(world.agent(), plans={"few": Plan("few", limits)})
    key = await world.issue(plan="few")
    first = await world.call(key)
    assert '"month";r=1' in first.headers["RateLimit"]
    assert '"day";r=49' in first.headers["RateLimit"]
    assert first.headers["X-RateLimit-Limit"] == "2"
    await world.call(key)
    refused = await world.call(key)
    error = check(refused, Code.QUOTA_EXHAUSTED)
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["Retry-After"]) >= 1
    assert "2 requests each month" in error["message"]
    assert f"anew in {refused.headers['Retry-After']} s." in error["message"]
    assert '"day";r=48' in refused.headers["RateLimit"], "a refusal costs nothing"


async def test_a_limit_for_one_agent_is_counted_besides(world: World) -> None:
    plan = Plan("p", Limits(quotas=(Quota(9, Window.DAY),)), {"echo": Limits(Rate(1, 3600), 1)})
    world.serve(world.agent(), world.agent("other"), plans={"p": plan})
    key = await world.issue(plan="p")
    first = await world.call(key)
    assert first.headers["RateLimit-Policy"] == '"day";q=9;w=86400, "agent-rate";q=1;w=3600'
    refused = await world.call(key)
    check(refused, Code.RATE_LIMITED)
    other = await world.call(key, "/agents/other/x")
    assert other.headers["RateLimit"].startswith('"day";r=7')


async def test_a_keys_own_limits_replace_its_plans_item_by_item(
    world: World, client: Redis
) -> None:
    plan = Plan("p", Limits(Rate(5, 1), 50, (Quota(100, Window.DAY),)))
    world.serve(world.agent(), plans={"p": plan})
    key = await world.issue(plan="p")
    await client.hset(world.record(key), "limits", "quota=7/h")
    answer = await world.call(key)
    assert answer.headers["RateLimit-Policy"] == '"rate";q=50;w=10, "hour";q=7;w=3600'


async def test_a_limit_changed_in_the_policies_holds_from_the_next_request(world: World) -> None:
    plans = {"p": Plan("p", Limits(quotas=(Quota(2, Window.DAY),)))}
    world.serve(world.agent(), plans=plans)
    key = await world.issue(plan="p")
    assert (await world.call(key)).status == (await world.call(key)).status == 200
    assert (await world.call(key)).status == 429
    world.serve(world.agent(), plans={"p": Plan("p", Limits(quotas=(Quota(3, Window.DAY),)))})
    assert (await world.call(key)).status == 200
    assert (await world.call(key)).status == 429
    world.serve(world.agent())
    check(await world.call(key), Code.KEY_MISCONFIGURED)


@pytest.mark.denial("too_large")
async def test_a_body_that_is_too_large_is_refused_before_it_costs_anything(
    world: World, client: Redis
) -> None:
    plans = {"p": Plan("p", Limits(quotas=(Quota(2, Window.DAY),)))}
    world.serve(world.agent(max_body=10), plans=plans)
    key = await world.issue(plan="p")
    check(await world.call(key, method="POST", data=b"x" * 11), Code.BODY_TOO_LARGE)
    assert await client.keys("*quota*") == []
    assert (await world.call(key, method="POST", data=b"x" * 10)).status == 200


async def test_a_chunked_body_is_cut_where_it_becomes_too_large(world: World) -> None:
    world.serve(world.agent(max_body=10))
    key = await world.issue()

    async def pieces() -> Any:
        yield b"x" * 8
        await asyncio.sleep(0)
        yield b"x" * 8

    answer = await world.call(key, method="POST", data=pieces())
    check(answer, Code.BODY_TOO_LARGE)


@pytest.mark.denial("too_large")
async def test_a_url_and_headers_that_are_too_large(world: World) -> None:
    url = b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    check(await exchange(world.address, url), Code.URL_TOO_LONG)
    header = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: /" + b"a" * 9000 + b"\r\n\r\n"
    check(await exchange(world.address, header), Code.HEAD_TOO_LARGE)
    many = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200 + b"\r\n"
    check(await exchange(world.address, many), Code.HEAD_TOO_LARGE)


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 431)])
async def test_the_value_of_a_header_may_be_as_long_as_is_said(
    world: World, more: int, status: int
) -> None:
    longest = b"x" * (ListenerLimits().max_header + more)
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + longest + b"\r\n\r\n"
    assert (await exchange(world.address, head)).status == status


@pytest.mark.denial("upstream_unreachable")
async def test_an_agent_that_is_not_there(world: World, unused_tcp_port: int) -> None:
    world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", unused_tcp_port)))
    check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)


async def test_what_is_refused_after_it_was_charged_tells_of_the_limits(
    world: World, unused_tcp_port: int
) -> None:
    nobody = Upstream("http", "127.0.0.1", unused_tcp_port)
    plans = {"few": Plan("few", Limits(quotas=(Quota(9, Window.DAY),)))}
    world.serve(world.agent(upstream=nobody), plans=plans)
    key = await world.issue(plan="few")
    for left in (8, 7):
        refused = await world.call(key)
        check(refused, Code.UPSTREAM_UNREACHABLE)
        assert refused.headers["RateLimit"].startswith(f'"day";r={left};')
        assert refused.headers["X-RateLimit-Remaining"] == str(left)


@pytest.mark.denial("upstream_timeout")
async def test_an_agent_that_never_answers(world: World) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream("http", "127.0.0.1", port)
    world.serve(world.agent(upstream=upstream, timeouts=Timeouts(first_byte=0.2)))
    check(await world.call(await world.issue()), Code.UPSTREAM_TIMEOUT)
    server.close()


@pytest.mark.denial("store_unavailable")
async def test_a_store_that_cannot_answer_lets_nobody_in(
    store: StoreSettings, client: Redis
) -> None:
    async with new_world(store, client, store_timeout=0.3) as world:
        key = await world.issue()
        assert (await world.call(key)).status == 200
        await client.client_pause(1500)
        answer = await world.call(key)
        check(answer, Code.STORE_UNAVAILABLE)
        assert answer.headers["Retry-After"] == "1"
        ready = await world.call(None, "/readyz")
        assert ready.status == 503
        assert ready.json["missing"] == ["store"]
        async with asyncio.timeout(10):
            while (await world.call(key)).status != 200:
                pass


async def test_head_gets_the_same_status_and_no_body(world: World) -> None:
    answer = await world.call(None, method="HEAD")
    assert (answer.status, answer.body) == (401, b"")
    assert int(answer.headers["Content-Length"]) > 0
