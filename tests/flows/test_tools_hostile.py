"""A server of tools that returns, logs, encodes and splits what it was given: nothing of it is
shown, and that it tried is on record."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.settings import ListenerLimits, StoreSettings
from gateway.protocol.strict_json import LEVELS
from gateway.proxy.large_bodies import LARGE
from gateway.proxy.tools import answers
from tests.awake import awake
from tests.flows.audit import records
from tests.flows.mcp_spellings import SPELLINGS
from tests.flows.services import Backend, backend, keep
from tests.flows.tools import (
    BEARER,
    BOTH,
    TOKEN,
    Servers,
    call,
    client,
    code,
    error,
    event_ids,
    key_of_u1,
    messages,
    opened,
    put_tools,
    request,
    said,
    send,
    servers,
)
from tests.flows.world import World, new_world
from tests.services.vaults import Vault

__all__ = ["servers"]


@pytest.fixture
async def key(world: World) -> Key:
    return await key_of_u1(world)


@pytest.fixture
async def hostile(world: World, key: Key) -> AsyncIterator[Backend]:
    async with backend() as made:
        put_tools(world, f"{made.url}/mcp")
        yield made


async def recorded(world: World, event: str, number: int = 1) -> list[dict[str, Any]]:
    """Once there are so many of them, or more."""
    async with asyncio.timeout(10):
        while len(found := await records(world, event)) < number:
            await asyncio.sleep(0.02)
    return found


def clean(body: bytes) -> None:
    """Neither as it stands nor as what it means."""
    for text in (body.decode(), *map(json.dumps, _parsed(body))):
        assert TOKEN not in text and TOKEN[4:30] not in text
        assert "5ecret" not in text


def _parsed(body: bytes) -> list[Any]:
    lines = [line.removeprefix("data:") for line in body.decode().splitlines()]
    found = []
    for line in (body.decode(), *lines):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("kind", ["json", "events"])
async def test_a_real_tool_that_spells_its_secret_in_any_way_shows_none_of_it(
    world: World, servers: Servers, key: Key, kind: str
) -> None:
    put_tools(world, servers.url(kind))
    headers = await opened(world, key)
    for how in SPELLINGS:
        answer = await send(world, key, call("spill", how=how), headers=headers)
        text = said(answer)["result"]["content"][0]["text"]
        assert "[redacted:github]" in text, how
        assert text.startswith("before ") and text.endswith(" after")
        clean(answer.body)
    for name in ("spill_structured", "fail", "chatter"):
        message = call(name)
        message["params"]["_meta"] = {"progressToken": 1}
        answer = await send(world, key, message, headers=headers)
        assert name == "chatter" or "[redacted:github]" in answer.body.decode()
        clean(answer.body)
    seen = await recorded(world, "credential.reflected", len(SPELLINGS))
    assert seen[0]["credentials"] == [{"name": "user/u1/github", "version": 1}]
    assert (seen[0]["tool"], seen[0]["user"]) == ("spill", "u1")
    assert seen[0]["agent"] == "tools/fc" and seen[0]["key_id"] == key.id
    metrics = await world.session.get(f"http://{world.gateways[0].admin.address}/metrics")
    assert b'gateway_credentials_reflected_total{agent="tools/fc"}' in await metrics.read()


async def test_progress_of_a_real_tool_arrives_as_it_happens_without_the_secret(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url())
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with client(world, key) as mcp:
        await mcp.call_tool("chatter", {}, progress_callback=hear)
    assert heard == [f"step {i} with [redacted:github]" for i in range(3)]


async def test_each_call_is_on_record_before_it_is_made(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url("json"))
    await send(world, key, call("whoami"), headers=await opened(world, key))
    (record,) = await records(world, "tool.call")
    assert (record["tool"], record["agent"], record["user"]) == ("whoami", "tools/fc", "u1")
    assert record["credentials"] == [{"name": "user/u1/github", "version": 1}]
    assert (record["key_id"], record["decision"]) == (key.id, "allowed")
    assert TOKEN not in json.dumps(record)
    # What opens a session uses the credential too.
    assert len(await records(world, "credential.use")) == 2


@pytest.mark.parametrize("inject", [BEARER, {}], ids=["searched", "passed on"])
@pytest.mark.parametrize(("responds", "cut"), [(False, "cut"), (True, "")])
async def test_a_stream_that_its_caller_leaves_is_on_record_as_cut_unless_it_had_the_response(
    world: World, hostile: Backend, key: Key, inject: Mapping[str, object], responds: bool, cut: str
) -> None:
    """With that official clients go, though the server may keep the stream open."""
    last = RESPONSE % "done" if responds else "{}"

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {last}\n\n".encode())
        await asyncio.sleep(60)
        return response

    hostile.answer = answer
    put_tools(world, f"{hostile.url}/mcp", inject=inject)
    headers = {**BOTH, "X-User-Id": "u1", "Authorization": f"Bearer {key.text}"}
    url = f"{world.url}/tools/fc/mcp"
    async with world.session.post(url, headers=headers, json=call("x")) as response:
        assert await response.content.readany()
    (result,) = await recorded(world, "tool.result")
    assert (result["status"], result["code"]) == (200, cut)


async def test_a_key_that_is_called_as_a_tool_is_on_record_without_its_secret(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url("json"))
    await send(world, key, call(f"as {key.text}"), headers=await opened(world, key))
    for event in ("tool.call", "tool.result"):
        (record,) = await recorded(world, event)
        assert record["tool"] == f"as agk_live_{key.id}_…"


async def test_what_goes_into_arguments_is_on_record_with_calls_alone(
    world: World, servers: Servers, key: Key
) -> None:
    """Nothing of it is sent with other messages."""
    await keep(world, Vault(world.client), "shared", "api_key", value="a value for all users")
    argument = {"access_key": "${credentials.shared.value}"}
    both = [{"name": "user/u1/github", "version": 1}, {"name": "shared", "version": 1}]
    for inject, beside in ((BEARER, both[:1]), ({}, [])):
        await world.client.delete("gw:audit")
        put_tools(world, servers.url("json"), inject={**inject, "arguments": argument})
        answer = await send(world, key, call("whoami"), headers=await opened(world, key))
        assert said(answer)["result"]["structuredContent"]["key_length"] == 21
        (made,), (result,) = await records(world, "tool.call"), await recorded(world, "tool.result")
        assert made["credentials"] == result["credentials"] == [*beside, both[1]]
        used = await records(world, "credential.use")
        assert [one["credentials"] for one in used] == ([beside] * 2 if beside else [])


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in text)


RESPONSE = '{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"%s"}]}}'
ANSWERS = {
    "escapes": RESPONSE % escaped(TOKEN),
    "half escapes": RESPONSE % (TOKEN[:9] + escaped(TOKEN[9:20]) + json.dumps(TOKEN[20:])[1:-1]),
    "name": json.dumps({"jsonrpc": "2.0", "id": 7, "result": {TOKEN: {"x" + TOKEN: 1}}}),
    "error": json.dumps(
        {"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": TOKEN, "data": [TOKEN]}}
    ),
    "json in json": json.dumps(
        {"jsonrpc": "2.0", "id": 7, "result": {"text": json.dumps({"a": json.dumps([TOKEN])})}}
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("status", [200, 500])
async def test_a_message_is_searched_as_what_it_means(
    world: World, hostile: Backend, key: Key, name: str, status: int
) -> None:
    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        headers = {"X-Echo": TOKEN, f"X-{TOKEN[:3]}": "fine"}
        return web.Response(
            text=ANSWERS[name], status=status, headers=headers, content_type="application/json"
        )

    hostile.answer = answer
    told = await send(world, key, call("x"))
    assert told.status == status and "[redacted:github]" in told.body.decode()
    clean(told.body)
    assert told.headers["X-Echo"] == "[redacted:github]"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_events_are_searched_however_they_are_cut(
    world: World, hostile: Backend, key: Key, size: int
) -> None:
    log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": TOKEN}}
    stream = (
        f": {TOKEN}\r\n\r\nid: {TOKEN}\rdata: {json.dumps(log)}\r\r"
        f"event: {TOKEN}\ndata: no JSON {TOKEN}\n\n"
        f"data: {RESPONSE % escaped(TOKEN)}\n\n"
    ).encode()

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, len(stream), size):
            await response.write(stream[at : at + size])
        return response

    hostile.answer = answer
    told = await send(world, key, call("x"))
    clean(told.body)
    # The id is sealed, whatever is in it.
    assert told.body.decode().count("[redacted:github]") == 5 and len(event_ids(told)) == 1
    assert json.loads(told.body.decode().split("data: ")[-1])["id"] == 7


@pytest.mark.parametrize("begin", ["\n", "\ufeff", "\ufeff\r\n"])
async def test_no_message_hides_behind_a_byte_order_mark(
    world: World, hostile: Backend, key: Key, begin: str
) -> None:
    """Clients take one off the beginning of a stream, and read the line behind it."""
    stream = f"{begin}\ufeffdata: {ANSWERS['half escapes']}\n\n"

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(text=stream, content_type="text/event-stream")

    hostile.answer = answer
    told = await send(world, key, call("x"))
    assert told.status == 200
    clean(told.body.decode("utf-8-sig").encode())


@pytest.mark.parametrize(("length", "status"), [(500_000, 200), (500_001, 502)])
async def test_an_answer_that_is_too_long_to_be_held_is_not_shown(
    world: World,
    hostile: Backend,
    key: Key,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    status: int,
) -> None:
    """It does not fit into one read, which is held in any case."""
    monkeypatch.setattr(answers, "LONGEST", 500_000)
    text = RESPONSE % ("x" * (length - len(RESPONSE % "")))

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    hostile.answer = answer
    assert (await send(world, key, call("x"))).status == status


async def test_an_event_that_is_too_long_to_be_held_cuts_the_stream(
    world: World,
    hostile: Backend,
    key: Key,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answers, "LONGEST", 1000)
    ended = asyncio.Event()
    first = f"data: {RESPONSE % 'fine'}\n\n".encode()

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(first)
        await response.write(b"data: " + b"x" * 2000)
        await ended.wait()
        return response

    hostile.answer = answer
    async with asyncio.timeout(10):
        with pytest.raises(aiohttp.ClientError):
            await send(world, key, call("x"))
    ended.set()
    assert "EventTooLongError" not in "".join(capsys.readouterr()), "and is no bug"


@pytest.mark.parametrize("status", [200, 500])
async def test_what_is_no_message_is_searched_across_its_lines(
    world: World, hostile: Backend, key: Key, status: int
) -> None:
    folded = base64.encodebytes(b"x" * 51 + TOKEN.encode()).decode().strip()
    told = web.Response(text=folded, status=500)
    if status == 200:
        lines = "\n".join(f"data: {line}" for line in folded.splitlines())
        told = web.Response(text=f"{lines}\n\n", content_type="text/event-stream")

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return told

    hostile.answer = answer
    shown = await send(world, key, call("x"))
    assert shown.status == status
    assert shown.body.decode().removeprefix("data: ").rstrip() == "eHh4" * 17 + "[redacted:github]"


async def test_tool_descriptions_and_what_comes_unasked_are_searched(
    world: World, hostile: Backend, key: Key
) -> None:
    listed = {"tools": [{"name": "x", "description": TOKEN, "inputSchema": {"title": TOKEN}}]}

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        message = {"jsonrpc": "2.0", "id": 7, "result": listed}
        if request.method == "GET":
            return web.Response(
                text=f"id: 1\ndata: {json.dumps(message)}\n\n", content_type="text/event-stream"
            )
        return web.json_response(message)

    hostile.answer = answer
    for told in (
        await send(world, key, request("tools/list")),
        await send(world, key, None, method="GET"),
    ):
        assert told.status == 200 and "[redacted:github]" in told.body.decode()
        clean(told.body)
    single = await world.issue("tools/fc:y", users=("u1",))
    heard = await send(world, single, None, method="GET")
    last = {"Last-Event-ID": event_ids(heard)[0]}
    resumed = await send(world, single, None, method="GET", headers=last)
    assert messages(resumed)[0]["result"]["tools"] == []
    assert hostile.last.headers["last-event-id"] == ["1"]


async def test_a_compressed_answer_is_searched_and_a_bomb_is_not_opened(
    world: World, hostile: Backend, key: Key
) -> None:
    bodies = {
        "gzip": gzip.compress((RESPONSE % escaped(TOKEN)).encode()),
        "deflate": zlib.compress((RESPONSE % escaped(TOKEN)).encode()),
    }

    def compressed(coding: str, body: bytes) -> None:
        async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
            headers = {"Content-Encoding": coding}
            return web.Response(body=body, headers=headers, content_type="application/json")

        hostile.answer = answer

    for coding, body in bodies.items():
        compressed(coding, body)
        told = await send(world, key, call("x"))
        assert said(told)["result"]["content"][0]["text"] == "[redacted:github]"
        assert "Content-Encoding" not in told.headers
    assert hostile.last.headers["accept-encoding"] == ["identity"]
    for coding, body in (("gzip", gzip.compress(b"0" * 40_000_000)), ("br", b"x"), ("gzip", b"x")):
        compressed(coding, body)
        assert code(await send(world, key, call("x"))) == (502, "upstream_protocol")


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_what_is_held_of_an_answer_is_held_in_the_room_of_its_caller(
    store: StoreSettings, client: Redis, kind: str
) -> None:
    limits = ListenerLimits(max_held=200_000)
    async with new_world(store, client, limits=limits) as world, backend() as server:
        await keep(world, Vault(world.client), "user/u1/github", "api_key", value=TOKEN)
        key = await world.issue("tools/fc", users=("u1",))
        put_tools(world, f"{server.url}/mcp")
        # More than may come in one piece, of which nothing is held.
        size = 600_000

        async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": kind})
            await response.prepare(request)
            await response.write(b"data: " if "event" in kind else b"")
            await response.write((RESPONSE % ("1" * size)).encode())
            await response.write(b"\n\n")
            return response

        server.answer = answer
        if kind == "application/json":
            refused = await send(world, key, call("x"))
            # What was done is not to be done again in a second.
            assert code(refused) == (502, "upstream_protocol")
            assert "Retry-After" not in refused.headers
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await send(world, key, call("x"))
        size = 90_000
        for _ in range(3):
            assert (await send(world, key, call("x"))).status == 200


async def test_a_call_is_held_as_what_it_is_once_it_is_read(
    store: StoreSettings, client: Redis
) -> None:
    """Many small objects take thirty times the memory of their text, for as long as it lasts."""
    limits = ListenerLimits(max_held=12_000_000)
    async with new_world(store, client, limits=limits) as world, backend() as server:
        key = await world.issue("tools/fc", users=("u1",))
        put_tools(world, f"{server.url}/mcp", inject={})
        goes_on = asyncio.Event()

        async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
            await goes_on.wait()
            return web.Response(text=RESPONSE % "fine", content_type="application/json")

        server.answer = answer
        dear, light = call("x", a=[{"a": 1}] * 20_000), call("x", a="x" * 160_000)
        first = asyncio.create_task(send(world, key, dear))
        async with asyncio.timeout(10):
            while not server.arrived:
                await asyncio.sleep(0.01)
        assert code(await send(world, key, dear)) == (503, "busy")
        goes_on.set()
        for sent in (light, dear):
            assert (await send(world, key, sent)).status == 200
        assert (await first).status == 200


async def longest_silence(work: Awaitable[object]) -> float:
    """Seconds for which nobody else had a turn."""
    longest = 0.0
    task = asyncio.ensure_future(work)
    with awake() as passed:
        while not task.done():
            before = passed()
            await asyncio.sleep(0)
            longest = max(longest, passed() - before)
    await task
    return longest


@pytest.mark.parametrize(
    "flood", [b"data: {}\n\n" * 200_000, b"\n" * 10_000_000], ids=["events", "lines"]
)
async def test_a_compressed_flood_of_events_leaves_others_their_turn(
    world: World, hostile: Backend, key: Key, flood: bytes
) -> None:
    """A small piece may stand for hundreds of thousands of them."""
    sent = gzip.compress(flood + f"data: {RESPONSE % '1'}\n\n".encode())

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
        return web.Response(body=sent, headers=headers)

    hostile.answer = answer
    assert await longest_silence(send(world, key, call("x"))) < 1.0


async def test_an_answer_that_is_long_to_search_leaves_others_their_turn(
    world: World, hostile: Backend, key: Key
) -> None:
    """One that is shorter than what is long to read."""
    digits = ",".join("1" * 120_000)
    told = json.dumps(TOKEN)
    sent = f'{{"jsonrpc":"2.0","id":7,"result":{{"token":{told},"x":[{digits}]}}}}'
    assert len(sent) < LARGE

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(text=sent, content_type="application/json")

    hostile.answer = answer
    silences = [await longest_silence(send(world, key, call("x"))) for _ in range(3)]
    assert min(silences) < 0.1


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_message_is_read_in_the_encoding_in_which_it_was_searched(
    world: World, hostile: Backend, key: Key, kind: str
) -> None:
    """The official client decodes events as the answer says: in another encoding, something else
    would stand there."""
    hidden = "".join(f"+{base64.b64encode(c.encode('utf-16-be')).decode()[:3]}-" for c in TOKEN)
    message = (RESPONSE % hidden).encode()
    assert TOKEN in message.decode("utf-7")
    sent = message if kind == "application/json" else b"data: %b\n\n" % message

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(body=sent, headers={"Content-Type": f"{kind}; charset=utf-7"})

    hostile.answer = answer
    told = await send(world, key, call("x"))
    assert told.headers["Content-Type"] == kind
    assert said(told)["id"] == 7


async def test_what_is_no_answer_of_a_tool_server_is_none(
    world: World, hostile: Backend, key: Key
) -> None:
    answers = [
        web.Response(text=TOKEN, content_type="text/html"),
        web.Response(text="[]", content_type="application/json"),
        web.Response(text=f'"{TOKEN}"', content_type="application/json"),
        web.Response(text=f"{{{TOKEN}", content_type="application/json"),
        web.Response(text="[" * 5000 + "]" * 5000, content_type="application/json"),
        *(
            web.Response(text='{"a":' * n + "1" + "}" * n, content_type="application/json")
            for n in (LEVELS + 1, 900)
        ),
        web.Response(status=307, headers={"Location": f"http://127.0.0.1/{TOKEN}"}),
    ]

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return answers.pop(0)

    hostile.answer = answer
    while answers:
        told = await send(world, key, call("x"))
        assert code(told) == (502, "upstream_protocol")
        clean(told.body)
    assert "upstream of this tool" in error(told)["message"]


async def test_a_server_that_refuses_the_credential_is_told_apart_and_the_one_before_is_tried(
    world: World, hostile: Backend, key: Key
) -> None:
    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        return web.json_response({"said": request.headers["Authorization"]}, status=401)

    hostile.answer = answer
    told = await send(world, key, call("x"))
    assert code(told) == (502, "upstream_auth_failed")
    clean(told.body)


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
async def test_what_the_credential_may_not_do_is_the_servers_own_answer(
    world: World, hostile: Backend, key: Key, kind: str
) -> None:
    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(text=RESPONSE % escaped(TOKEN), status=403, content_type=kind)

    hostile.answer = answer
    told = await send(world, key, call("x"))
    assert told.status == 403
    clean(told.body)


async def test_arguments_are_put_in_over_what_the_caller_says_and_nobody_is_asked_for_them(
    world: World, hostile: Backend, key: Key
) -> None:
    schema = {"type": "object", "properties": {"token": {}, "a": {}}, "required": ["token", "a"]}

    async def answer(_: web.Request, body: bytes) -> web.StreamResponse:
        asked = json.loads(body)
        result = asked["params"]
        if asked["method"] == "tools/list":
            result = {"tools": [{"name": "x", "inputSchema": schema}]}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    hostile.answer = answer
    inject = {"arguments": {"token": "${user.github.value}"}}
    put_tools(world, f"{hostile.url}/mcp", inject=inject)
    gzip_too = {"Content-Encoding": "gzip"}
    told = await send(world, key, call("x", token="mine", a=1), headers=gzip_too)
    assert "content-encoding" not in hostile.last.headers
    assert json.loads(hostile.last.body)["params"]["arguments"] == {"token": TOKEN, "a": 1}
    assert said(told)["result"]["arguments"] == {"token": "[redacted:github]", "a": 1}
    listed = said(await send(world, key, request("tools/list")))["result"]["tools"][0]
    assert listed["inputSchema"] == {
        "type": "object",
        "properties": {"a": {}},
        "required": ["a"],
    }


async def test_a_session_is_cut_when_its_key_is_revoked(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url())
    headers = await opened(world, key)
    waiting = asyncio.create_task(send(world, key, call("wait", seconds=60), headers=headers))
    await recorded(world, "tool.call")
    await world.client.hset(world.record(key), "status", "revoked")
    async with asyncio.timeout(10):
        with pytest.raises(Exception):  # noqa: B017 - a cut answer is an error of the client's
            answer = await waiting
            raise ConnectionError(answer.status)


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize(
    ("first", "answered"),
    [
        (RESPONSE % "done", True),
        ('{"id": "a\\"b", "jsonrpc": "2.0", "error": {"code": 1, "message": "x"}}', True),
        ('{"jsonrpc": "2.0", "method": "notifications/x"}', False),
        ('{"jsonrpc": "2.0", "method": "notifications/x", "params": {"error": "result"}}', False),
    ],
)
async def test_the_last_event_of_a_cut_call_is_its_response_unless_it_has_one(
    world: World, hostile: Backend, key: Key, first: str, answered: bool, searched: bool
) -> None:
    if not searched:
        put_tools(world, f"{hostile.url}/mcp", inject={})

    async def answer(asked: web.Request, _: bytes) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(asked)
        await stream.write(f"data: {first}\n\n".encode())
        await asyncio.sleep(60)
        return stream

    hostile.answer = answer
    headers = {**BOTH, "X-User-Id": "u1", "Authorization": f"Bearer {key.text}"}
    read = b""
    async with world.session.post(
        f"{world.url}/tools/fc/mcp", headers=headers, json=call("x")
    ) as response:
        with suppress(aiohttp.ClientPayloadError):
            while piece := await response.content.readany():
                read += piece
                await world.client.hset(world.record(key), "status", "revoked")  # type: ignore[misc]
    kind, data = read.decode().split("\n\n")[-2].split("\n")
    told = json.loads(data.removeprefix("data: "))
    if answered:
        assert (kind, told["error"]["code"]) == ("event: error", "key_revoked")
    else:
        assert (kind, told["id"]) == ("event: message", 7)
        assert told["error"]["data"]["error"]["code"] == "key_revoked"


async def test_events_that_wait_to_be_looked_at_are_not_shown_once_the_key_is_revoked(
    world: World, hostile: Backend, key: Key
) -> None:
    last = f"data: {RESPONSE % 'the last'}\n\n".encode()
    sent = gzip.compress(b"data: {}\n\n" * 1_000_000 + last)

    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
        return web.Response(body=sent, headers=headers)

    hostile.answer = answer
    headers = {**BOTH, "X-User-Id": "u1", "Authorization": f"Bearer {key.text}"}
    url, read, message = f"{world.url}/tools/fc/mcp", b"", call("x")
    async with world.session.post(url, headers=headers, json=message) as response:
        read += await response.content.readany()
        await world.client.hset(world.record(key), "status", "revoked")  # type: ignore[misc]
        with suppress(aiohttp.ClientPayloadError):
            while piece := await response.content.readany():
                read = read[-len(last) :] + piece
    assert last not in read


async def test_nothing_that_was_put_in_is_in_the_log(
    world: World, hostile: Backend, key: Key, capfd: pytest.CaptureFixture[str]
) -> None:
    async def answer(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(text=ANSWERS["error"], content_type="application/json")

    hostile.answer = answer
    await send(world, key, call("x"))
    told = capfd.readouterr()
    assert "credential_reflected" in told.out + told.err
    assert "5ecret" not in told.out + told.err
