"""Services behind OAuth: the gateway fetches a token, keeps it, renews it, and nobody sees it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from gateway.domain.credentials import Version
from gateway.services.credentials import tokens
from tests.flows.audit import records
from tests.flows.services import Backend, backend, keep, put, seen, service
from tests.flows.tools import call, put_tools, said, send
from tests.flows.world import World
from tests.services.vaults import Vault

INJECT = {"headers": {"Authorization": "Bearer ${credentials.idp}"}}


@dataclass
class Provider:
    """Gives tokens to who proves to be the client. `asked`: how, each time."""

    backend: Backend
    seconds: object = 3600
    only_in_body: bool = False
    broken: bool = False
    ending: str = ""
    secret: str = "client-secret-mark"
    refused: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def newest(self) -> str:
        return f"token-{len(self.asked)}-of-the-client{self.ending}"

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.asked.append(form)
        await asyncio.sleep(0.05)
        if self.broken:
            return web.Response(status=500, text="client-secret-mark is broken")
        kind, _, proof = request.headers.get("Authorization", " ").partition(" ")
        who = base64.b64decode(proof).decode() if kind == "Basic" else ""
        if self.only_in_body:
            who = f"{form.get('client_id')}:{form.get('client_secret')}"
        if who != f"the-client:{self.secret}":
            self.asked.pop()
            self.refused.append(who)
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": self.newest, "expires_in": self.seconds})


@pytest.fixture
async def provider(
    world: World, there: Backend, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Provider]:
    """Each of its tokens that is refused is fetched anew."""
    monkeypatch.setattr(tokens, "BETWEEN_REFUSALS", 0.0)
    async with backend() as made:
        found = Provider(made)
        made.answer = found.answer
        fields = {"client_id": "the-client", "client_secret": "client-secret-mark"}
        url = f"{made.url}/token"
        vault = Vault(world.client)
        await keep(world, vault, "idp", "oauth2", token_url=url, scopes="read write", **fields)
        put(world, service(there, inject=INJECT))
        yield found


async def test_a_token_is_fetched_once_for_all_who_wait_for_it(
    world: World, provider: Provider, there: Backend
) -> None:
    key = await world.issue("services/crm")
    calls = (world.call(key, "/services/crm/x") for _ in range(20))
    answers = await asyncio.gather(*calls)
    assert {answer.status for answer in answers} == {200}
    assert provider.asked == [{"grant_type": "client_credentials", "scope": "read write"}]
    sent = {one.headers["authorization"][0] for one in there.arrived}
    assert sent == {"Bearer token-1-of-the-client"}


async def test_that_a_secret_is_sent_for_a_token_is_on_record_or_it_is_not_sent(
    world: World, provider: Provider, there: Backend
) -> None:
    key = await world.issue("services/crm")
    await world.client.set("gw:audit", "no stream")
    answer = await world.call(key, "/services/crm/x")
    assert (answer.status, answer.code) == (503, "audit_unavailable")
    assert provider.backend.arrived == [] and there.arrived == []
    await world.client.delete("gw:audit")
    async with asyncio.timeout(20):
        while (await world.call(key, "/services/crm/x")).status != 200:
            await asyncio.sleep(0.1)
    (fetched,), (used,) = [await records(world, f"credential.{act}") for act in ("token", "use")]
    assert fetched["seq"] < used["seq"]
    assert fetched["credentials"] == used["credentials"] == [{"name": "idp", "version": 1}]
    assert "client-secret-mark" not in json.dumps(fetched)


async def test_a_provider_that_wants_the_secret_in_the_body_gets_it_there(
    world: World, provider: Provider, there: Backend
) -> None:
    provider.only_in_body = True
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert answer.status == 200
    assert there.last.headers["authorization"] == ["Bearer token-1-of-the-client"]


async def test_it_is_renewed_before_it_ends_and_serves_meanwhile(
    world: World, provider: Provider, there: Backend
) -> None:
    provider.seconds = 2
    key = await world.issue("services/crm")
    async with asyncio.timeout(20):
        while len(provider.asked) < 3:
            assert (await world.call(key, "/services/crm/x")).status == 200
            await asyncio.sleep(0.02)


async def test_a_token_that_is_refused_is_fetched_anew_and_tried_once(
    world: World, provider: Provider, there: Backend
) -> None:
    valid = "token-1-of-the-client"

    async def picky(request: web.Request, body: bytes) -> web.Response:
        fine = request.headers["Authorization"] == f"Bearer {valid}"
        return web.Response(status=200 if fine else 401, text=request.headers["Authorization"])

    there.answer = picky
    key = await world.issue("services/crm")
    assert (await world.call(key, "/services/crm/x")).body == b"Bearer [redacted:idp]"
    valid = "token-2-of-the-client"
    assert (await world.call(key, "/services/crm/x")).body == b"Bearer [redacted:idp]"
    assert len(provider.asked) == 2
    valid = "no token"
    there.arrived.clear()
    answer = await world.call(key, "/services/crm/x")
    assert answer.code == "upstream_auth_failed" and len(there.arrived) == 2


async def test_who_asks_for_what_is_refused_has_one_token_fetched_and_no_more(
    world: World,
    provider: Provider,
    there: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "BETWEEN_REFUSALS", 60.0)

    async def refuse(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=401)

    there.answer = refuse
    key = await world.issue("services/crm")
    codes = [(await world.call(key, "/services/crm/x")).code for _ in range(5)]
    assert codes == ["upstream_auth_failed"] * 5
    assert len(provider.asked) == 2 and len(there.arrived) == 6


async def test_without_a_token_nothing_is_sent_and_the_provider_is_not_flooded(
    world: World, provider: Provider, there: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.broken = True
    key = await world.issue("services/crm")
    answers = [await world.call(key, "/services/crm/x") for _ in range(10)]
    assert {answer.code for answer in answers} == {"credential_unavailable"}
    assert there.arrived == [] and len(provider.asked) <= 2
    assert "token_unavailable" in "".join(capsys.readouterr())
    provider.broken = False
    async with asyncio.timeout(10):
        while (await world.call(key, "/services/crm/x")).status != 200:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("seconds", ["soon", -1, None, "3600"])
async def test_a_lifetime_that_makes_no_sense_is_no_token(
    seconds: object, world: World, provider: Provider, there: Backend
) -> None:
    provider.seconds = seconds
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert answer.status == (200 if seconds == "3600" else 503)


async def test_a_token_that_no_header_can_hold_is_not_kept_for_its_lifetime(
    world: World, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.ending = "\n"
    key = await world.issue("services/crm")
    assert (await world.call(key, "/services/crm/x")).code == "credential_unavailable"
    assert "token_unavailable" in "".join(capsys.readouterr())
    provider.ending = ""
    async with asyncio.timeout(10):
        while (await world.call(key, "/services/crm/x")).status != 200:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "url", ["http://idp.example.com/token", "https://169.254.169.254/token", "ftp://x", "token"]
)
async def test_a_secret_goes_over_tls_or_stays_on_this_machine(
    url: str, world: World, there: Backend
) -> None:
    fields = {"client_id": "the-client", "client_secret": "client-secret-mark"}
    await keep(world, Vault(world.client), "idp", "oauth2", token_url=url, **fields)
    put(world, service(there, inject=INJECT))
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert (answer.status, answer.code) == (503, "credential_unavailable")


async def test_a_token_that_many_find_refused_is_fetched_anew_once(
    world: World, provider: Provider, there: Backend
) -> None:
    """The last to hear of it has the new one already, and would else take it from the others."""
    hears = [asyncio.Event() for _ in range(3)]
    waiting = iter(hears)

    async def picky(request: web.Request, body: bytes) -> web.Response:
        if request.headers["Authorization"] == "Bearer token-1-of-the-client":
            await next(waiting).wait()
            return web.Response(status=401)
        return web.Response(text="fine")

    there.answer = picky
    key = await world.issue("services/crm")
    calls = [asyncio.create_task(world.call(key, "/services/crm/x")) for _ in hears]
    async with asyncio.timeout(20):
        while len(there.arrived) < len(hears):
            await asyncio.sleep(0.01)
    for heard in hears:
        heard.set()
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        calls = [call for call in calls if call not in done]
        assert {call.result().status for call in done} == {200}
    assert len(provider.asked) == 2


async def test_a_token_that_has_ended_is_sent_to_nobody(
    world: World, provider: Provider, there: Backend
) -> None:
    provider.seconds = 1
    key = await world.issue("services/crm")
    assert (await world.call(key, "/services/crm/x")).status == 200
    provider.broken = True
    await asyncio.sleep(1.1)
    there.arrived.clear()
    answer = await world.call(key, "/services/crm/x")
    assert (answer.code, there.arrived) == ("credential_unavailable", [])


async def test_a_secret_that_the_provider_does_not_take_yet_leaves_the_one_before_its_grace(
    world: World, provider: Provider, there: Backend
) -> None:
    fields = {"token_url": f"{provider.backend.url}/token", "client_id": "the-client"}
    before = Version(1, {**fields, "client_secret": "client-secret-mark"}, until=2**40)
    later = Version(2, {**fields, "client_secret": "later-secret"})
    key = await world.issue("services/crm")
    assert (await world.call(key, "/services/crm/x")).status == 200
    vault = Vault(world.client)
    await vault.write("idp", 2, type="oauth2", current=later, previous=before)
    await seen(world, "idp", 2)
    for _ in range(5):
        assert (await world.call(key, "/services/crm/x")).status == 200
    # Once a second at most, with its name in the head and then in the body.
    assert provider.refused.count("the-client:later-secret") <= 2
    assert await versions_used(world) == [1] * 6
    provider.secret = "later-secret"
    async with asyncio.timeout(10):
        while (await versions_used(world))[-1] != 2:
            assert (await world.call(key, "/services/crm/x")).status == 200
            await asyncio.sleep(0.1)


async def versions_used(world: World) -> list[int]:
    entries = await world.client.xrange("gw:audit")
    records = [json.loads(fields["record"]) for _, fields in entries]
    return [one["credentials"][0]["version"] for one in records if one["event"] == "credential.use"]


@pytest.mark.parametrize("events", [False, True])
async def test_a_tool_shows_neither_a_token_that_it_refused_nor_the_one_that_came_after(
    events: bool, world: World, provider: Provider, there: Backend
) -> None:
    valid, refused = "token-1-of-the-client", ""

    async def echo(request: web.Request, body: bytes) -> web.Response:
        nonlocal refused
        sent = request.headers["Authorization"]
        if sent != f"Bearer {valid}":
            refused = sent
            return web.Response(status=401)
        told = {"jsonrpc": "2.0", "id": 7, "result": {"sent": sent, "before": refused}}
        headers = {"X-Sent": sent}
        if events:
            headers["Content-Type"] = "text/event-stream"
            return web.Response(text=f"data: {json.dumps(told)}\n\n", headers=headers)
        return web.json_response(told, headers=headers)

    there.answer = echo
    put_tools(world, f"{there.url}/mcp", inject=INJECT)
    key = await world.issue("tools/fc")
    assert (await send(world, key, call("x"), None)).status == 200
    valid = "token-2-of-the-client"
    answer = await send(world, key, call("x"), None)
    assert answer.status == 200 and refused == "Bearer token-1-of-the-client"
    hidden = "Bearer [redacted:idp]"
    assert said(answer)["result"] == {"sent": hidden, "before": hidden}
    assert answer.headers["X-Sent"] == hidden
    async with asyncio.timeout(10):
        while not (found := await reflections(world)):
            await asyncio.sleep(0.01)
    assert [one["name"] for one in found[0]["credentials"]] == ["idp"]


async def reflections(world: World) -> list[dict[str, Any]]:
    entries = await world.client.xrange("gw:audit")
    records = [json.loads(fields["record"]) for _, fields in entries]
    return [one for one in records if one["event"] == "credential.reflected"]
