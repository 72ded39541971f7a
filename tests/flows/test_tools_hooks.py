"""Own code before and after a call: what it sees, what it may change, and that its failure is no
way around it."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from gateway.domain.keys.key import Key
from gateway.services.policies.directory import read_directory
from tests.flows import own_hooks
from tests.flows.audit import come
from tests.flows.services import backend
from tests.flows.tools import (
    TOKEN,
    Servers,
    call,
    code,
    error,
    key_of_u1,
    messages,
    opened,
    put_tools,
    request,
    said,
    send,
    servers,
    tools,
)
from tests.flows.world import World

__all__ = ["servers"]

OWN = "tests.flows.own_hooks"


@pytest.fixture
async def key(world: World, servers: Servers) -> Key:
    own_hooks.seen.clear()
    return await key_of_u1(world)


async def calls(world: World) -> list[bytes]:
    """The audit records of calls of tools."""
    records = await world.client.xrange("gw:audit")
    lines = [line for _, fields in records for line in fields.values()]
    return [line.encode() for line in lines if '"event":"tool.call"' in line]


@pytest.mark.parametrize("kind", ["json", "events"])
async def test_a_hook_sees_the_call_without_credentials_and_may_change_it(
    world: World, servers: Servers, key: Key, kind: str
) -> None:
    hooks = {"before": [f"{OWN}:only_europe", f"{OWN}:look"], "after": [f"{OWN}:stamp"]}
    inject = {
        "headers": {"Authorization": "Bearer ${user.github.value}"},
        "arguments": {"access_key": "${user.github.value}"},
    }
    put_tools(world, servers.url(kind), hooks=hooks, inject=inject)
    headers = await opened(world, key)
    answer = await send(world, key, call("whoami", access_key="mine"), headers=headers)
    result = said(answer)["result"]
    assert result["structuredContent"]["region"] == "eu"
    assert result["structuredContent"]["key_length"] == len(TOKEN)
    assert result["content"][-1]["text"] == "stamped whoami"
    (seen,) = own_hooks.seen
    assert (seen.server, seen.tool, seen.user) == ("fc", "whoami", "u1")
    assert (seen.key_id, seen.consumer) == (key.id, "sales")
    assert seen.arguments == {"access_key": "mine", "region": "eu"}
    assert TOKEN not in repr(seen)


@pytest.mark.parametrize("kind", ["json", "events"])
async def test_a_hook_may_leave_an_answer_or_put_an_error_in_its_place(
    world: World, servers: Servers, key: Key, kind: str
) -> None:
    told = []
    for name in ("pass_on", "fail"):
        put_tools(world, servers.url(kind), hooks={"after": [f"{OWN}:{name}"]})
        headers = await opened(world, key)
        told.append(said(await send(world, key, call("whoami"), headers=headers)))
    left, failed = told
    assert left["id"] == 7 and left["result"]["content"] and "error" not in left
    error_of_hook = {"code": 7, "message": "Not in Europe."}
    assert failed == {"jsonrpc": "2.0", "id": 7, "error": error_of_hook}


@pytest.mark.denial("hook_refused")
async def test_a_hook_that_refuses_stops_the_call_and_is_quoted(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url(), hooks={"before": [f"{OWN}:only_europe"]})
    headers = await opened(world, key)
    answer = await send(world, key, call("whoami", region="us"), headers=headers)
    assert code(answer) == (403, "hook_refused")
    assert error(answer)["message"] == "Functions are called in Europe only."
    assert await calls(world) == []


@pytest.mark.parametrize(
    "name",
    [
        *("broken", "endless", "stubborn", "cancelled", "exits", "interrupts", "groups"),
        *("stamp", "no_json", "pairs"),
    ],
)
async def test_a_hook_that_fails_or_takes_too_long_stops_the_call(
    world: World, servers: Servers, key: Key, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_tools(world, servers.url(), hooks={"before": [f"{OWN}:{name}"], "timeout": "100ms"})
    headers = await opened(world, key)
    answer = await send(world, key, call("whoami", region="private"), headers=headers)
    assert code(answer) == (500, "internal")
    assert await calls(world) == []
    told = "".join(capsys.readouterr())
    assert "hook_failed" in told and "private" not in told


@pytest.mark.parametrize("kind", ["json", "events"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("withhold", "hook_refused"),
        ("break_after", "internal"),
        ("look", "internal"),
        ("no_json_after", "internal"),
        ("bare", "internal"),
        ("both", "internal"),
    ],
)
async def test_a_hook_that_fails_afterwards_withholds_the_answer(
    world: World, servers: Servers, key: Key, name: str, expected: str, kind: str
) -> None:
    put_tools(world, servers.url(kind), hooks={"after": [f"{OWN}:{name}"]})
    headers = await opened(world, key)
    answer = await send(world, key, call("whoami", region="private"), headers=headers)
    told = said(answer)
    assert told["id"] == 7 and "result" not in told
    assert told["error"]["data"]["error"]["code"] == expected
    assert "private" not in answer.body.decode()
    status = {"hook_refused": 403, "internal": 500}[expected] if kind == "json" else 200
    assert answer.status == status
    (result,) = await come(world, "tool.result", 1)
    assert (result["code"], result["decision"], result["status"]) == (expected, "denied", status)
    # Other messages are none of its business.
    assert (await send(world, key, {**call("x"), "method": "ping"}, headers=headers)).status == 200


async def test_an_answer_that_is_fetched_later_is_no_way_around_a_hook(
    world: World, key: Key
) -> None:
    """In a stream that is listened to, or as the result of a task."""
    response = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"content": ["private"]}})
    params = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t"}}}
    progress = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        if request.method == "GET":
            events = f"data: {progress}\n\ndata: {response}\n\n"
            return web.Response(text=events, content_type="text/event-stream")
        return web.Response(text=response, content_type="application/json")

    async with backend() as hostile:
        hostile.answer = answer
        inject: dict[str, object] = {}
        put_tools(world, f"{hostile.url}/mcp", hooks={"after": [f"{OWN}:withhold"]}, inject=inject)
        heard = await send(world, key, None, method="GET")
        first, last = messages(heard)
        assert first["method"] == "notifications/progress"
        assert last["error"]["data"]["error"]["code"] == "hook_refused" and last["id"] == 7
        ((_, related),) = first["params"]["_meta"].items()
        for method in ("tasks/result", "tasks/get", "tasks/list"):
            result = await send(world, key, request(method, **related))
            assert code(result) == (403, "hook_refused"), method
            assert b"private" not in heard.body + result.body


async def test_what_a_hook_makes_of_an_answer_without_an_id_has_none(
    world: World, key: Key
) -> None:
    """Some callers take it for theirs."""

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        return web.json_response({"result": {"content": []}})

    async with backend() as hostile:
        hostile.answer = answer
        inject: dict[str, object] = {}
        put_tools(world, f"{hostile.url}/mcp", hooks={"after": [f"{OWN}:stamp"]}, inject=inject)
        told = (await send(world, key, call("x"))).json
    assert told == {"result": {"content": [{"type": "text", "text": "stamped x"}]}}


@pytest.mark.parametrize("message", [call("x"), request("tasks/list")])
async def test_an_answer_that_is_no_message_is_no_way_around_a_hook(
    world: World, key: Key, message: dict[str, object]
) -> None:
    """By its type, or by what it says; what says nothing needs no look."""
    given = (200, "", "")

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        status, kind, body = given
        return web.Response(status=status, text=body, content_type=kind)

    async with backend() as hostile:
        hostile.answer = answer
        inject: dict[str, object] = {}
        put_tools(world, f"{hostile.url}/mcp", hooks={"after": [f"{OWN}:look"]}, inject=inject)
        for given in (
            (400, "application/problem+json", '{"detail": "private"}'),
            (500, "text/plain", "private"),
            (202, "text/plain", "private"),
            (202, "application/x-ndjson", '{"result": "private"}'),
            (400, "application/json", '{"detail": "private"}'),
            (200, "application/json", '{"content": ["private"]}'),
            (400, "text/event-stream", 'data: {"content": ["private"]}\n\n'),
            (200, "text/event-stream", "data: private\n\n"),
        ):
            told = await send(world, key, message)
            assert b"private" not in told.body, given
            if given[1] != "text/event-stream":
                assert code(told) == (502, "upstream_protocol")
        given = (400, "text/plain", "")
        assert (await send(world, key, message)).status == 400
        given = (400, "text/plain", "no list")
        assert (await send(world, key, request("tools/list"))).body == b"no list"


async def test_what_a_task_came_to_is_not_told_beside_a_hook(world: World, key: Key) -> None:
    """In what comes unasked, to whoever listens and in the answer to a call."""
    params = {"taskId": "t", "status": "completed", "result": {"content": ["private"]}}
    told = {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": params}
    result = {"jsonrpc": "2.0", "id": 7, "result": {"content": []}}

    async def answer(request: web.Request, _: bytes) -> web.StreamResponse:
        events = f"data: {json.dumps(told)}\n\ndata: {json.dumps(result)}\n\n"
        return web.Response(text=events, content_type="text/event-stream")

    async with backend() as hostile:
        hostile.answer = answer
        inject: dict[str, object] = {}
        put_tools(world, f"{hostile.url}/mcp", hooks={"after": [f"{OWN}:stamp"]}, inject=inject)
        for message in (None, call("x"), request("subscriptions/listen", notifications={})):
            method = "POST" if message else "GET"
            shown, *_ = messages(await send(world, key, message, method=method))
            assert shown["params"] == {"taskId": shown["params"]["taskId"], "status": "completed"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (f"{OWN}:nosuch", "is no async function"),
        (f"{OWN}:not_async", "is no async function"),
        ("nosuch.module:f", "cannot be imported: ModuleNotFoundError"),
        ("that_ends:f", "cannot be imported: SystemExit"),
    ],
)
def test_a_hook_that_is_none_is_a_mistake_in_the_policies(
    tmp_path: Path, name: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "that_ends.py").write_text("raise SystemExit")
    file = tmp_path / "p.yaml"
    file.write_text(tools("http://127.0.0.1/mcp", hooks={"before": [name]}))
    loaded = read_directory(tmp_path)
    assert loaded.policies is None
    (told,) = map(str, loaded.problems)
    assert told.startswith(f"{file}:3:3:") and problem in told


def test_a_mistake_hides_no_hook_or_certificate_that_cannot_be_used_beside_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\n"
        "agents:\n"
        "  a: {upstream: nowhere}\n"
        "  b: {upstream: {url: 'https://b.test', ca: gone.pem}, max_body: much}\n"
        "tools:\n"
        "  s: {transport: htp}\n"
        "  t: {transport: http, upstream: 'http://127.0.0.1', hook: {}, "
        "hooks: {before: ['no.such:f', nonsense]}}\n"
        "  u: {transport: http, upstream: 'http://127.0.0.1', hooks: {after: ['no.such:g']}}\n"
    )
    told = [str(problem).removeprefix(f"{file}:") for problem in read_directory(tmp_path).problems]
    assert [line.split(":")[0] for line in told] == ["3", "4", "4", "6", "7", "7", "7", "8"]
    text = "\n".join(told)
    assert "gone.pem" in text and "'no.such:f'" in text and "'no.such:g'" in text
