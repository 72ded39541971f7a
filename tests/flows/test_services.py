"""`/services/<name>/…`: a caller uses what the gateway knows and never sees it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.credentials import Version
from gateway.domain.policies.references import Reference
from gateway.domain.policies.services import SENT_WHOLE
from gateway.domain.settings import StoreSettings, VaultSettings
from gateway.services.credentials.inject import REFRESH_SECONDS
from tests.flows.audit import records
from tests.flows.raw import exchange
from tests.flows.services import Backend, backend, keep, put, seen, service
from tests.flows.tools import call
from tests.flows.world import World, new_world
from tests.services.vaults import MASTER, Vault, problem_of

TOKEN = {"headers": {"X-Token": "${credentials.crm.value}"}}


@pytest.fixture
async def vault(world: World) -> Vault:
    made = Vault(world.client)
    await keep(world, made, "crm", "api_key", value="crm-secret-1")
    return made


async def test_a_call_arrives_with_what_the_caller_never_had(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, upstream=f"{there.url}/api", inject=TOKEN))
    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/people/7?a=%20b&c", data=b"x" * 1000)
    assert (answer.status, answer.json) == (200, {"fine": True})
    arrived = there.last
    assert (arrived.method, arrived.path) == ("GET", "/api/people/7?a=%20b&c")
    assert arrived.headers["x-token"] == ["crm-secret-1"]
    assert arrived.headers["host"] == [f"127.0.0.1:{there.port}"]
    assert arrived.body == b"x" * 1000
    assert "authorization" not in arrived.headers
    assert not any(name.startswith(("x-gateway", "x-forwarded")) for name in arrived.headers)
    assert answer.headers["X-Request-Id"] == arrived.headers["x-request-id"][0]


async def test_what_a_caller_sends_under_the_same_names_is_replaced(
    world: World, vault: Vault, there: Backend
) -> None:
    inject = {
        "headers": {"Authorization": "Bearer ${credentials.crm}", "X-Token": "${credentials.crm}"},
        "query": {"api_key": "${credentials.crm}"},
        "body": {"secret": "${credentials.crm}"},
    }
    put(world, service(there, inject=inject))
    key = await world.issue("services/crm")
    answer = await world.call(
        None,
        "/services/crm/x?a=1&api_key=mine&API%5Fkey=mine&b=%26&api%5fkey&api_key[]=mine",
        "POST",
        headers={
            "X-API-Key": key.text,
            "x-token": "mine",
            "Content-Encoding": "gzip",
            "Content-Type": "application/json",
        },
        data='{"secret": "mine", "SECRET": "", "\\u017fecret": "", "n": 12345678901234567890123}',
    )
    assert answer.status == 200
    arrived = there.last
    assert arrived.path == "/x?a=1&b=%26&api_key=crm-secret-1"
    assert arrived.headers["authorization"] == ["Bearer crm-secret-1"]
    assert arrived.headers["x-token"] == ["crm-secret-1"]
    assert b"mine" not in arrived.body and "content-encoding" not in arrived.headers
    assert json.loads(arrived.body) == {"secret": "crm-secret-1", "n": 12345678901234567890123}
    assert arrived.headers["content-length"] == [str(len(arrived.body))]
    part = '--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    mine = ("secret", "Secret", "\u017fecret", "secret[]")
    sent = [*((name, "mine") for name in mine), ("more", "kept")]
    form = "".join(part % field for field in sent) + "--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await world.call(key, "/services/crm/x", "POST", headers, form)
    assert answer.status == 200
    ours = [("secret", "crm-secret-1"), ("more", "kept")]
    assert there.last.body.decode() == "".join(part % field for field in ours) + "--B--\r\n"
    urlencoded = {"Content-Type": "application/x-www-form-urlencoded"}
    sent_so = "more=kept&secret=mine&Secret=mine"
    assert (await world.call(key, "/services/crm/x", "POST", urlencoded, sent_so)).status == 200
    assert there.last.body == b"more=kept&secret=crm-secret-1"
    seen = len(there.arrived)
    refused = await world.call(key, "/services/crm/x?a=1;api_key=mine", "POST", headers, form)
    assert (refused.status, refused.code) == (400, "bad_request")
    assert len(there.arrived) == seen


@pytest.mark.parametrize("inject", [TOKEN, {"body": {"secret": "${credentials.crm}"}}])
async def test_a_body_that_is_longer_than_a_service_takes_is_not_sent(
    world: World, vault: Vault, there: Backend, inject: dict[str, Any]
) -> None:
    """In chunks, it is known to be too long once it has arrived."""
    put(world, service(there, inject=inject, max_body="1KB"))
    key = await world.issue("services/crm")
    head = (
        "POST /services/crm/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {key.text}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for length, status in ((1000, 200), (1001, 413)):
        body = b'{"a": "%b"}' % (b"x" * (length - 9))
        sent = b"%b%x\r\n%b\r\n0\r\n\r\n" % (head.encode(), length, body)
        assert (await exchange(world.address, sent)).status == status
    assert len(there.arrived) == 1


async def test_a_look_alike_of_a_header_that_is_put_in_is_refused(
    world: World, vault: Vault, there: Backend
) -> None:
    inject = {"headers": {"X-Token": "${credentials.crm}", "its_own": "${credentials.crm}"}}
    put(world, service(there, inject=inject))
    key = await world.issue("services/crm")
    for name in ("X_Token", "x.token", "Accept_Encoding", "If_Range", "its.own"):
        answer = await world.call(key, "/services/crm/x", headers={name: "mine"})
        assert (answer.status, answer.code) == (400, "bad_request"), name
    assert not there.arrived
    assert not await records(world, "credential.use")
    answer = await world.call(
        key, "/services/crm/x", headers={"Its_Own": "mine", "X_Other": "kept"}
    )
    assert answer.status == 200 and there.last.headers["x_other"] == ["kept"]
    assert there.last.headers["its_own"] == ["crm-secret-1"]


async def test_a_session_that_was_opened_with_a_credential_is_nobodys_cookie(
    world: World, vault: Vault, there: Backend
) -> None:
    """Many servers let it count before the credential of the next call, which may be another
    user's. Where nothing is put in, cookies are between the caller and who it calls."""

    async def logged_in(request: web.Request, body: bytes) -> web.Response:
        said = {"jsonrpc": "2.0", "id": 7, "result": {}}
        return web.json_response(said, headers={"Set-Cookie": "sid=of-u1; Path=/", "X-A": "b"})

    there.answer = logged_in
    one = {"upstream": there.url}
    kept = {**one, "inject": {"headers": {"Cookie": "sid=${credentials.crm}"}}}
    model = {"name": "m", "provider": "openai", "credential": "${credentials.crm}"}
    sections = {
        "services": {"crm": {**one, "inject": TOKEN}, "open": one, "kept": kept},
        "models": [{**model, "upstream": f"{there.url}/v1"}],
        "tools": {"fc": {"transport": "http", "upstream": f"{there.url}/mcp", "inject": TOKEN}},
        "agents": {"plain": one},
    }
    put(world, json.dumps({"version": 1, **sections}))
    key = await world.issue("services/*", "models/*", "tools/*", "agents/*")
    headers = {"Cookie": "sid=of-another", "Content-Type": "application/json"}
    headers["Accept"] = "application/json, text/event-stream"
    message = {**call("x"), "model": "m", "messages": []}
    passed = {
        "/services/crm/x": None,
        "/services/kept/x": ["sid=crm-secret-1"],
        "/services/open/x": ["sid=of-another"],
        "/models/v1/chat/completions": None,
        "/tools/fc/mcp": None,
        "/agents/plain/x": ["sid=of-another"],
    }
    for path, cookies in passed.items():
        answer = await world.call(key, path, "POST", headers, json.dumps(message).encode())
        assert answer.status == 200, (path, answer.body)
        assert there.last.headers.get("cookie") == cookies, path
        assert ("Set-Cookie" in answer.headers) is (cookies == ["sid=of-another"]), path
        assert answer.headers["X-A"] == "b"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text/plain", "{}"),
        ("application/json", "[1]"),
        ("application/json", "{"),
        ("application/json", '{"a": NaN}'),
        ("application/json", "[" * 50_000),
    ],
)
async def test_a_field_is_put_into_nothing_but_a_json_object(
    kind: str, data: str, world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"body": {"secret": "${credentials.crm}"}}))
    key = await world.issue("services/crm")
    answer = await world.call(
        key, "/services/crm/x", "POST", headers={"Content-Type": kind}, data=data
    )
    assert (answer.status, answer.code) == (400, "bad_request")
    assert there.arrived == [] and await records(world) == []


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        ("application/x-www-form-urlencoded", b"secret=crm-secret-1"),
        ("application/json", b'{"secret":"crm-secret-1"}'),
    ],
)
async def test_an_empty_form_or_object_gets_its_field(
    kind: str, arrives: bytes, world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"body": {"secret": "${credentials.crm}"}}))
    key = await world.issue("services/crm")
    headers = {"Content-Type": kind}
    answer = await world.call(key, "/services/crm/x", "POST", headers=headers, data=b"")
    assert (answer.status, there.last.body) == (200, arrives)
    assert there.last.headers["content-length"] == [str(len(arrives))]


async def test_a_field_that_has_no_body_to_go_into_is_no_use_of_its_credential(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"body": {"secret": "${credentials.crm}"}}))
    key = await world.issue("services/crm")
    for method in ("GET", "POST"):
        assert (await world.call(key, "/services/crm/x", method)).status == 200
        assert there.last.body == b""
    assert await records(world) == []


async def test_it_takes_a_key_and_a_scope_as_everything_does(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject=TOKEN))
    assert (await world.call(None, "/services/crm/x")).code == "key_missing"
    for scope in ("agents/crm", "services/other", "services/crm:read"):
        answer = await world.call(await world.issue(scope), "/services/crm/x")
        assert (answer.status, answer.code) == (403, "scope_denied")
        assert answer.json["error"]["required_scope"] == "services/crm:invoke"
    key = await world.issue("services/crm:invoke")
    assert (await world.call(key, "/services/nothing/x")).code == "not_found"
    assert (await world.call(key, "/agents/crm/x")).code == "not_found"
    assert (await world.call(key, "/services/crm")).status == 200
    await world.client.hset(world.record(key), "status", "revoked")
    assert (await world.call(key, "/services/crm/x")).code == "key_revoked"
    assert [one.path for one in there.arrived] == ["/"]


async def test_each_use_is_recorded_before_it_happens(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject=TOKEN))
    key = await world.issue("services/crm", users=("alice",))
    answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": "alice"})
    (record,) = await records(world)
    assert record["event"] == "credential.use" and record["agent"] == "services/crm"
    assert (record["key_id"], record["user"]) == (key.id, "alice")
    assert record["request_id"] == answer.headers["X-Request-Id"]
    assert record["credentials"] == [{"name": "crm", "version": 1}]
    assert "crm-secret" not in json.dumps(record)


async def test_what_cannot_be_recorded_is_not_used(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject=TOKEN))
    key = await world.issue("services/crm")
    await world.client.set("gw:audit", "no stream")
    answer = await world.call(key, "/services/crm/x")
    assert (answer.status, answer.code) == (503, "audit_unavailable")
    assert there.arrived == []


@pytest.mark.denial("credential_unavailable")
async def test_without_its_credential_nothing_is_sent(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"headers": {"X-Token": "${credentials.gone}"}}))
    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/x")
    assert (answer.status, answer.code) == (503, "credential_unavailable")
    await keep(world, vault, "gone", "custom", value="two\r\nX-Lines: 1")
    answer = await world.call(key, "/services/crm/x")
    assert (answer.status, answer.code) == (503, "credential_unavailable")
    assert there.arrived == []


async def test_a_user_has_a_credential_of_his_own(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"headers": {"X-Token": "${user.github.value}"}}))
    for user in ("alice", "bob"):
        await keep(world, vault, f"user/{user}/github", "api_key", value=f"{user}-secret")
    key = await world.issue("services/crm", users=("alice", "bob"))
    for user in ("alice", "bob"):
        await world.call(key, "/services/crm/x", headers={"X-User-Id": user})
        assert there.last.headers["x-token"] == [f"{user}-secret"]
    answer = await world.call(key, "/services/crm/x")
    assert (answer.status, answer.code) == (503, "credential_unavailable")
    assert answer.headers["x-should-retry"] == "false", "nobody will be named the next time"
    answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": "carol"})
    assert answer.code == "user_denied"


async def test_a_user_without_the_credential_is_told_which_one_it_is(
    world: World, vault: Vault, there: Backend
) -> None:
    put(world, service(there, inject={"headers": {"X-Token": "${user.github.token}"}}))
    # A decoy, and one without the field, are refused in the same words as one that is not there.
    decoy = Version(1, {"value": "bob-decoy-secret"})
    await vault.write("user/bob/github", 1, type="canary", current=decoy)
    await keep(world, vault, "user/carol/github", "custom", other="carol-secret")
    users = ("alice", "bob", "carol")
    key = await world.issue("services/crm", users=users)
    for user in users:
        answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": user})
        assert (answer.status, answer.code) == (503, "credential_unavailable")
        error = answer.json["error"]
        assert error["credential"] == f"user/{user}/github"
        assert f"the credential 'github' of user '{user}'" in error["message"]


def picky(valid: str) -> Any:
    async def answer(request: web.Request, body: bytes) -> web.Response:
        if request.headers["X-Token"] != valid:
            return web.Response(status=401, text=f"{request.headers['X-Token']} is wrong")
        return web.json_response({"length": len(body)})

    return answer


@pytest.mark.denial("upstream_auth_failed")
async def test_a_service_that_refuses_the_credential_is_told_apart_from_a_refused_key(
    world: World, vault: Vault, there: Backend
) -> None:
    async def refuse(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=401, text="crm-secret-1 is wrong")

    there.answer = refuse
    put(world, service(there, inject=TOKEN))
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert (answer.status, answer.code) == (502, "upstream_auth_failed")
    assert b"crm-secret" not in answer.body and len(there.arrived) == 1


async def test_what_a_credential_may_not_do_is_the_services_own_answer(
    world: World, vault: Vault, there: Backend
) -> None:
    async def forbid(request: web.Request, body: bytes) -> web.Response:
        text = f"{request.headers['X-Token']} may not read this"
        return web.Response(status=403, text=text, headers={"X-Why": "owner"})

    there.answer = forbid
    put(world, service(there, inject=TOKEN))
    await vault.write("crm", 2, grace=int(time.time()) + 60)
    await seen(world, "crm", 2)
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert (answer.status, answer.body) == (403, b"[redacted:crm] may not read this")
    assert answer.headers["X-Why"] == "owner" and len(there.arrived) == 1


async def test_after_a_rotation_what_was_before_is_tried_once(
    world: World, vault: Vault, there: Backend
) -> None:
    there.answer = picky("crm-1")
    put(world, service(there, inject=TOKEN))
    key = await world.issue("services/crm")
    await vault.write("crm", 2, grace=int(time.time()) + 60)
    await seen(world, "crm", 2)
    for data in (None, b"y" * 2000):
        there.arrived.clear()
        answer = await world.call(key, "/services/crm/x", "POST", data=data)
        assert answer.json == {"length": len(data or b"")}
        assert [one.headers["x-token"] for one in there.arrived] == [["crm-2"], ["crm-1"]]
        versions = [record["credentials"][0]["version"] for record in await records(world)]
        assert versions[-2:] == [2, 1]
    there.answer = picky("none of them")
    there.arrived.clear()
    answer = await world.call(key, "/services/crm/x")
    assert answer.code == "upstream_auth_failed" and len(there.arrived) == 2


async def without_news(client: Redis) -> Vault:
    """A vault whose changes a gateway finds when it polls, and no sooner."""
    await client.set("gw:cred:{vault}:news", "no stream")
    return Vault(client)


async def test_a_rotation_that_no_poll_has_seen_yet_is_seen_where_the_old_value_is_refused(
    store: StoreSettings, client: Redis, there: Backend
) -> None:
    """Whoever rotates where the old value ends at once must not wait for the next poll."""
    there.answer = picky("crm-2")
    vault = await without_news(client)
    await vault.write("crm")
    async with new_world(store, client, vault=VaultSettings(None, (MASTER,), 3600.0)) as world:
        put(world, service(there, inject=TOKEN))
        key = await world.issue("services/crm")
        answer = await world.call(key, "/services/crm/x")
        assert answer.code == "upstream_auth_failed" and len(there.arrived) == 1
        await vault.write("crm", 2)
        await asyncio.sleep(REFRESH_SECONDS)
        answers = await asyncio.gather(*(world.call(key, "/services/crm/x") for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert there.arrived[1].headers["x-token"] == ["crm-1"]


async def test_it_is_seen_too_where_one_before_it_still_has_its_grace(
    store: StoreSettings, client: Redis, there: Backend
) -> None:
    there.answer = picky("crm-3")
    vault = await without_news(client)
    await vault.write("crm")
    await vault.write("crm", 2, grace=int(time.time()) + 60)
    async with new_world(store, client, vault=VaultSettings(None, (MASTER,), 3600.0)) as world:
        put(world, service(there, inject=TOKEN))
        key = await world.issue("services/crm")
        await vault.write("crm", 3)
        assert (await world.call(key, "/services/crm/x")).status == 200
    assert [one.headers["x-token"] for one in there.arrived] == [["crm-2"], ["crm-3"]]


async def test_a_body_that_was_streamed_is_not_sent_again(
    world: World, vault: Vault, there: Backend
) -> None:
    there.answer = picky("crm-1")
    put(world, service(there, inject=TOKEN))
    await vault.write("crm", 2, grace=int(time.time()) + 60)
    await seen(world, "crm", 2)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"z" * 50_000
            await asyncio.sleep(0.01)

    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/x", "POST", data=pieces())
    assert (answer.status, answer.code) == (502, "upstream_auth_failed")
    assert len(there.arrived) == 1
    there.answer = None
    assert (await world.call(key, "/services/crm/x", "POST", data=pieces())).status == 200
    assert there.last.body == b"z" * 1_000_000


async def test_no_redirect_is_followed(world: World, vault: Vault, there: Backend) -> None:
    async with backend() as elsewhere:

        async def away(request: web.Request, body: bytes) -> web.Response:
            return web.Response(status=302, headers={"Location": elsewhere.url})

        there.answer = away
        put(world, service(there, inject=TOKEN))
        url = f"{world.url}/services/crm/x"
        key = await world.issue("services/crm")
        headers = {"Authorization": f"Bearer {key.text}", "Host": "elsewhere.test"}
        async with world.session.get(url, headers=headers, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, elsewhere.url)
        assert elsewhere.arrived == [] and len(there.arrived) == 1


async def test_a_services_own_limits_are_passed_on_beside_ours(
    world: World, vault: Vault, there: Backend
) -> None:
    async def limited(request: web.Request, body: bytes) -> web.Response:
        theirs = {"x-ratelimit-remaining-requests": "59", "RateLimit": '"theirs";r=1'}
        return web.Response(headers=theirs | ({"X-RateLimit-Limit": "60"} if same else {}))

    same = True
    put(world, service(there, inject=TOKEN) + "plans: {p: {rate: 100/s}}\n")
    key = await world.issue("services/crm", plan="p")
    own = await world.call(key, "/services/crm/x")
    assert own.headers["X-RateLimit-Limit"] == "100"
    there.answer = limited
    answer = await world.call(key, "/services/crm/x")
    assert answer.headers.getall("X-RateLimit-Limit") == ["60"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"
    assert [value[:6] for value in answer.headers.getall("RateLimit")] == ['"rate"']
    assert "X-RateLimit-Reset" not in answer.headers
    same = False
    answer = await world.call(key, "/services/crm/x")
    assert answer.headers.getall("X-RateLimit-Limit") == ["100"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"


async def test_a_plans_limits_at_an_agent_are_not_for_a_service_of_its_name(
    world: World, vault: Vault, there: Backend
) -> None:
    text = service(there, inject=TOKEN) + (
        f"agents: {{crm: {{upstream: '{there.url}'}}}}\n"
        "plans: {p: {agents: {crm: {quota: 1/month}}}}\n"
    )
    put(world, text)
    key = await world.issue("services/crm", "agents/crm", plan="p")
    for _ in range(3):
        assert (await world.call(key, "/services/crm/x")).status == 200
    assert (await world.call(key, "/agents/crm/x")).status == 200
    assert (await world.call(key, "/agents/crm/x")).code == "quota_exhausted"


@pytest.mark.parametrize(
    ("kind", "fields", "sent"),
    [
        ("api_key", {"value": "the-value"}, {"authorization": "Bearer the-value"}),
        ("bearer", {"value": " the-value\t"}, {"authorization": "Bearer  the-value"}),
        (
            "basic",
            {"username": "tom", "password": "päss:word"},
            {"authorization": "Basic dG9tOnDDpHNzOndvcmQ="},
        ),
        ("headers", {"X-Id": "one-id", "X-Key": "a-key"}, {"x-id": "one-id", "x-key": "a-key"}),
    ],
)
async def test_a_whole_credential_is_sent_as_its_type_says_and_does_not_come_back(
    kind: str, fields: dict[str, str], sent: dict[str, str], world: World, there: Backend
) -> None:
    async def echo(request: web.Request, body: bytes) -> web.Response:
        return web.Response(text="".join(request.headers[name] for name in sent))

    there.answer = echo
    await keep(world, Vault(world.client), "whole", kind, **fields)
    put(world, service(there, inject={"credential": "${credentials.whole}"}))
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert {name: there.last.headers[name] for name in sent} == {n: [v] for n, v in sent.items()}
    assert b"[redacted:whole]" in answer.body
    assert not any(
        value.partition(" ")[2].encode() in answer.body for value in sent.values() if " " in value
    )
    assert not any(value.strip().encode() in answer.body for value in fields.values())


@pytest.mark.parametrize(
    ("kind", "fields", "name", "sent"),
    [
        ("bearer", {"value": "the-value"}, "authorization", ["Bearer the-value"]),
        ("headers", {"X-Key": "the-value"}, "x-key", ["the-value"]),
    ],
)
async def test_a_whole_credential_stands_in_place_of_headers_that_have_its_names(
    kind: str, fields: dict[str, str], name: str, sent: list[str], world: World, there: Backend
) -> None:
    await keep(world, Vault(world.client), "whole", kind, **fields)
    lines = {name: "another", "X-Beside": "it"}
    put(world, service(there, inject={"headers": lines, "credential": "${credentials.whole}"}))
    await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert there.last.headers[name] == sent and there.last.headers["x-beside"] == ["it"]


async def test_what_cannot_be_sent_whole_is_not_sent(world: World, there: Backend) -> None:
    vault = Vault(world.client)
    put(world, service(there, inject={"credential": "${credentials.whole}"}))
    key = await world.issue("services/crm")
    await keep(world, vault, "whole", "ak_sk", access_key_id="i", access_key_secret="s")
    assert (await world.call(key, "/services/crm/x")).code == "credential_unavailable"
    await keep(world, vault, "whole", "headers", 2, **{"Host": "elsewhere.test", "X-A": "1"})
    assert (await world.call(key, "/services/crm/x")).code == "credential_unavailable"
    assert there.arrived == []


async def test_a_policy_cannot_mean_a_whole_credential_of_another_type(
    world: World, vault: Vault
) -> None:
    credentials = world.gateways[0].base.credentials
    assert problem_of(credentials, Reference("crm"), SENT_WHOLE) == ""
    await keep(world, vault, "keys", "ak_sk", access_key_id="i", access_key_secret="s")
    problem = "a credential of type ak_sk cannot be sent as a whole"
    assert problem_of(credentials, Reference("keys"), SENT_WHOLE) == problem
