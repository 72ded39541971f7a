"""Tools that are programs, called by the official client, which knows nothing of a gateway."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from mcp import MCPError
from structlog.testing import capture_logs

from gateway.domain.keys.key import Key
from tests.children.programs import processes
from tests.flows.audit import come, records
from tests.flows.services import keep
from tests.flows.tools import (
    BOTH,
    LEGACY,
    TOKEN,
    call,
    client,
    code,
    headed,
    hello,
    messages,
    modern,
    request,
    said,
    send,
    serve,
    serve_stdio,
    text,
)
from tests.flows.world import World
from tests.services.vaults import Vault
from tests.until import until

MODES = ("auto", "legacy")
REGION = {
    "type": "object",
    "properties": {"region": {"type": "string", "minLength": 2}},
    "required": ["region"],
}
SHOW = "echo region $0; echo token $TOKEN; echo home $HOME >&2"
LEAK = (
    'printf %s "$TOKEN" | base64 -w0; echo; printf "x%s" "$TOKEN" | base64 -w0; echo; '
    'printf %s "$TOKEN" | od -An -tx1 | tr -d " \\n"; echo; env; cat /proc/self/environ; '
    'printf %s "$TOKEN" >&2; exit $1'
)


def command(name: str, *argv: str, schema: object = None) -> dict[str, object]:
    described = schema or {"type": "object"}
    return {"name": name, "description": f"It is {name}.", "input": described, "argv": list(argv)}


def commands(mark: str) -> list[dict[str, object]]:
    number = {"type": "object", "properties": {"n": {"type": "integer", "default": 0}}}
    return [
        command("show", "sh", "-c", SHOW, "{region}", schema=REGION),
        command("leak", "sh", "-c", LEAK, "sh", "{n}", schema=number),
        command("sleep", "sh", "-c", "sleep 600; true", mark),
        command("flood", "sh", "-c", "yes"),
    ]


@pytest.fixture
async def key(world: World) -> AsyncIterator[Key]:
    vault = Vault(world.client)
    await keep(world, vault, "user/u1/github", "api_key", value=TOKEN)
    await keep(world, vault, "user/u2/github", "api_key", value="token-of-the-user-u2")
    yield await world.issue("tools/fc", users=("u1", "u2", "u3"))


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_uses_a_program_that_is_an_mcp_server(
    world: World, key: Key, mode: str
) -> None:
    server = [sys.executable, str(Path(__file__).parent / "mcp_stdio_server.py")]
    await serve(world, transport="stdio", command=server)
    progress: list[float] = []

    async def on_progress(step: float, total: float | None, message: str | None) -> None:
        progress.append(step)

    async with client(world, key, mode=mode) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert names == {"whoami", "steps", "fail"}
        assert text(await mcp.call_tool("whoami", {"region": "eu"})) == "eu [redacted:github]"
        done = await mcp.call_tool("steps", {"number": 3}, progress_callback=on_progress)
        assert text(done) == "done" and progress == [1.0, 2.0, 3.0]
        failed = await mcp.call_tool("fail", {})
        assert failed.is_error and TOKEN not in text(failed)
        assert (await mcp.list_prompts()).prompts[0].name == "greet"


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_uses_commands_as_tools(
    world: World, key: Key, mode: str
) -> None:
    await serve(world, transport="command", tools=commands("m"))
    async with client(world, key, mode=mode) as mcp:
        tools = (await mcp.list_tools()).tools
        assert [tool.name for tool in tools] == ["show", "leak", "sleep", "flood"]
        assert tools[0].input_schema == REGION and tools[0].description == "It is show."
        shown = await mcp.call_tool("show", {"region": "eu; id"})
        assert text(shown) == "region eu; id\ntoken [redacted:github]\n" and not shown.is_error
        for wrong, reason in (({}, "required"), ({"region": 5}, "string"), ({"region": ""}, "")):
            refused = await mcp.call_tool("show", wrong)
            assert refused.is_error and reason in text(refused)
        assert (await mcp.call_tool("show", {"region": "--help"})).is_error


@pytest.mark.parametrize("ends", [0, 3])
async def test_what_a_command_tells_of_its_environment_comes_back_redacted(
    world: World, key: Key, ends: int
) -> None:
    await serve(world, transport="command", tools=commands("m"))
    answer = await send(world, key, call("leak", n=ends))
    told = said(answer)["result"]
    shown = told["content"][0]["text"]
    assert told["isError"] is (ends == 3) and shown.count("[redacted:github]") >= 5
    for spelled in (TOKEN, base64.b64encode(TOKEN.encode()).decode(), TOKEN.encode().hex()):
        assert spelled not in answer.body.decode()
    (seen,) = await come(world, "credential.reflected", 1)
    assert (seen["agent"], seen["tool"], seen["user"]) == ("tools/fc", "leak", "u1")
    assert seen["credentials"] == [{"name": "user/u1/github", "version": 1}]
    if ends:
        assert shown.startswith("The command ended with exit code 3.\n\nstderr:\n[redacted:github]")


@pytest.mark.parametrize("transport", ["stdio", "command"])
async def test_what_a_program_says_on_stderr_is_logged_without_its_values(
    world: World, key: Key, transport: str
) -> None:
    await serve_either(world, transport, "m")
    asked = call("stderr", text=TOKEN) if transport == "stdio" else call("leak", n=0)
    with capture_logs() as logged:
        assert said(await send(world, key, asked))["result"]
        await until(lambda: "[redacted:github]" in str(logged))
    assert TOKEN not in str(logged)


async def test_each_user_has_values_and_programs_of_their_own(world: World, key: Key) -> None:
    await serve_stdio(world)
    found = {}
    for user in ("u1", "u2"):
        told = said(await send(world, key, call("environment"), user))["result"]
        found[user] = json.loads(told["content"][0]["text"])
        assert found[user]["TOKEN"] == "[redacted:github]"
    assert found["u1"]["HOME"] != found["u2"]["HOME"]
    for user, token in (("u1", TOKEN), ("u2", "token-of-the-user-u2")):
        length = said(await send(world, key, call("measure"), user))["result"]["content"][0]["text"]
        assert length == str(len(token))


async def test_keys_and_users_share_no_program_though_the_same_goes_into_each(
    world: World, key: Key
) -> None:
    await serve_stdio(world, inject={})
    another = await world.issue("tools/fc", users=("u1",))

    async def pid(one: Key, user: str) -> str:
        told = said(await send(world, one, call("pid"), user))["result"]["content"][0]["text"]
        return str(told)

    found = [await pid(one, user) for one, user in ((key, "u1"), (key, "u2"), (another, "u1"))]
    assert len(set(found)) == 3
    assert await pid(key, "u1") == found[0]


async def test_without_a_users_credential_nothing_runs(world: World, key: Key) -> None:
    mark = os.urandom(8).hex()
    await serve_stdio(world, mark)
    answer = await send(world, key, call("echo"), "u3")
    assert code(answer) == (503, "credential_unavailable") and b"github" in answer.body
    assert processes(mark) == {}


async def test_commands_are_listed_without_the_credentials_that_they_run_with(
    world: World, key: Key
) -> None:
    await serve(world, transport="command", tools=commands("mark"))
    async with client(world, key, "u3") as mcp:
        assert len((await mcp.list_tools()).tools) == 4
        with pytest.raises(MCPError, match="'github' of user 'u3'"):
            await mcp.call_tool("show", {"region": "eu"})
    async with client(world, key, "u1") as mcp:
        await mcp.list_tools()
    assert await records(world, "credential.use") == []


async def test_arguments_that_cannot_be_checked_are_refused(world: World, key: Key) -> None:
    nowhere = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}
    await serve(world, transport="command", tools=[command("x", "echo", "{a}", schema=nowhere)])
    refused = said(await send(world, key, call("x", a="b")))["result"]
    assert refused["isError"] and "/$defs/a', which is not in it" in refused["content"][0]["text"]


async def test_a_scope_for_one_tool_is_for_that_tool(world: World, key: Key) -> None:
    narrow = await world.issue("tools/fc:show", users=("u1",))
    await serve(world, transport="command", tools=commands("m"))
    listed = said(await send(world, narrow, request("tools/list")))["result"]["tools"]
    assert [tool["name"] for tool in listed] == ["show"]
    assert (await send(world, narrow, call("show", region="eu"))).status == 200
    assert (await send(world, narrow, call("leak"))).status == 403


async def test_a_rotated_credential_is_in_a_new_program_from_the_next_call_on(
    world: World, key: Key
) -> None:
    await serve_stdio(world)
    before = said(await send(world, key, call("pid")))["result"]
    await keep(
        world, Vault(world.client), "user/u1/github", "api_key", number=2, value="rotated-value"
    )
    told = said(await send(world, key, call("measure")))["result"]["content"][0]["text"]
    assert told == str(len("rotated-value"))
    assert said(await send(world, key, call("pid")))["result"] != before


async def test_a_credential_that_is_gone_takes_the_programs_with_it_that_have_it(
    world: World, key: Key
) -> None:
    """The one under way ends with its call."""
    mark = os.urandom(8).hex()
    await serve_stdio(world, mark)
    sleeping = asyncio.create_task(send(world, key, call("sleep", seconds=2)))
    for user in ("u1", "u2"):
        assert (await send(world, key, call("echo"), user)).status == 200
    assert len(processes(mark)) == 2
    await Vault(world.client).delete("user/u1/github", 1)
    await until(lambda: len(processes(mark)) == 1)
    assert "result" in said(await sleeping)
    assert (await send(world, key, call("echo"), "u2")).status == 200
    assert len(processes(mark)) == 1


async def test_a_stream_of_a_program_ends_with_the_users_own_credential(
    world: World, key: Key
) -> None:
    await serve_stdio(world)
    message = call("progress", seconds=60)
    message["params"]["_meta"] = {"progressToken": 1}
    waiting = asyncio.create_task(send(world, key, message))
    await come(world, "tool.call", 1)
    await Vault(world.client).delete("user/u1/github", 1)
    async with asyncio.timeout(10):
        with pytest.raises(aiohttp.ClientPayloadError):
            await waiting
    (result,) = await come(world, "tool.result", 1)
    assert (result["status"], result["code"]) == (200, "cut")


async def test_programs_keep_no_sessions(world: World, key: Key) -> None:
    await serve_stdio(world)
    greeted = await send(world, key, hello())
    assert "Mcp-Session-Id" not in greeted.headers
    result = greeted.json["result"]
    assert result["protocolVersion"] == LEGACY and result["serverInfo"]["name"] == "p"
    # Changes of the list would reach nobody.
    assert result["capabilities"] == {"tools": {}}
    for method in ("GET", "DELETE"):
        refused = await send(world, key, None, method=method)
        assert (refused.status, refused.headers["Allow"]) == (405, "POST")
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await send(world, key, ready)).status == 202


async def test_a_program_is_spoken_to_in_one_revision_alone(world: World, key: Key) -> None:
    await serve_stdio(world)
    greeted = []
    for message, headers in (
        (request("tools/list"), {}),
        (modern(), headed("tools/list")),
        (request("tools/list"), {}),
    ):
        greeted.append(said(await send(world, key, message, headers=headers))["result"]["greeted"])
    assert greeted == [True, False, True]


@pytest.mark.parametrize("transport", ["stdio", "command"])
async def test_a_caller_is_told_a_revision_that_is_served_here(
    world: World, key: Key, transport: str
) -> None:
    """The next request names it, and must not be refused."""
    await serve_either(world, transport, "m")
    agreed = {
        "2024-11-05": "2025-06-18",
        "2025-06-18": "2025-06-18",
        "2025-09-09": "2025-06-18",
        "9999-01-01": LEGACY,
    }
    for wanted, told in agreed.items():
        greeting = hello()
        greeting["params"]["protocolVersion"] = wanted
        answer = await send(world, key, greeting)
        assert answer.json["result"]["protocolVersion"] == told, wanted


async def test_errors_of_the_stateless_revision_have_its_http_status(
    world: World, key: Key
) -> None:
    await serve(world, transport="command", tools=commands("m"))
    unknown_tool = {"name": "nope", "arguments": {}}
    for method, params, name, status, told in (
        ("x/y", {}, "", 404, -32601),
        ("tools/call", unknown_tool, "nope", 400, -32602),
    ):
        answer = await send(world, key, modern(method, **params), headers=headed(method, name))
        assert (answer.status, answer.json["error"]["code"]) == (status, told)
        answer = await send(world, key, request(method, **params))
        assert (answer.status, answer.json["error"]["code"]) == (200, told)


async def test_a_program_of_an_older_revision_is_not_taken_for_one_of_the_stateless(
    world: World, key: Key
) -> None:
    """A 404 with a JSON-RPC error would say that it speaks the stateless one."""
    await serve_stdio(world)
    for method, status in (("x/y", 404), ("server/discover", 200)):
        answer = await send(world, key, modern(method), headers=headed(method))
        assert (answer.status, answer.json["error"]["code"]) == (status, -32601)


@pytest.mark.parametrize("transport", ["stdio", "command"])
async def test_a_call_that_is_taken_back_ends(world: World, key: Key, transport: str) -> None:
    mark = os.urandom(8).hex()
    await serve_either(world, transport, mark)
    waiting = asyncio.create_task(send(world, key, call("sleep", seconds=600)))
    await until(lambda: len(processes(mark)) > 0)
    taken = {"requestId": 7}
    back = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": taken}
    stranger = await world.issue("tools/fc", users=("u1",))
    assert (await send(world, stranger, back)).status == 202
    async with asyncio.timeout(30):
        while not waiting.done():
            assert (await send(world, key, back)).status == 202
            await asyncio.sleep(0.05)
    assert (await waiting).json["error"]["message"] == "The call was cancelled."


async def serve_either(world: World, transport: str, mark: str) -> None:
    if transport == "stdio":
        await serve_stdio(world, mark)
    else:
        await serve(world, transport="command", tools=commands(mark))


async def test_a_caller_who_leaves_takes_the_command_with_it(world: World, key: Key) -> None:
    mark = os.urandom(8).hex()
    await serve(world, transport="command", tools=commands(mark))
    waiting = asyncio.create_task(send(world, key, call("sleep")))
    await until(lambda: len(processes(mark)) > 0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: processes(mark) == {})
    (made,), (result,) = await come(world, "tool.call", 1), await come(world, "tool.result", 1)
    assert (result["status"], result["code"]) == (0, "cut")
    assert result["credentials"] == made["credentials"] != []


async def test_a_stream_of_a_program_that_its_caller_leaves_is_on_record_as_cut(
    world: World, key: Key
) -> None:
    await serve_stdio(world)
    headers = {**BOTH, "X-User-Id": "u1", "Authorization": f"Bearer {key.text}"}
    message = call("progress", seconds=60)
    message["params"]["_meta"] = {"progressToken": 1}
    async with world.session.post(
        f"{world.url}/tools/fc/mcp", headers=headers, json=message
    ) as answer:
        assert b"progress" in await answer.content.readany()
    (result,) = await come(world, "tool.result", 1)
    assert (result["status"], result["code"]) == (200, "cut")


async def test_a_key_that_is_revoked_ends_its_call_and_the_command(world: World, key: Key) -> None:
    mark = os.urandom(8).hex()
    await serve(world, transport="command", tools=commands(mark))
    waiting = asyncio.create_task(send(world, key, call("sleep")))
    await until(lambda: len(processes(mark)) > 0)
    await world.client.hset(world.record(key), "status", "revoked")  # type: ignore[misc]
    answer = await waiting
    assert code(answer) == (401, "key_revoked")
    # Its message was read, so its client is told which call this ends.
    assert answer.json["id"] == 7
    await until(lambda: processes(mark) == {})


async def test_a_client_is_told_at_once_why_its_call_ends_when_its_key_is_revoked(
    world: World, key: Key
) -> None:
    """Otherwise it waits for the response until its own patience ends, if it has any."""
    await serve_stdio(world)
    begun = asyncio.Event()

    async def hear(*_: object) -> None:
        begun.set()

    async with client(world, key) as mcp:
        calling = mcp.call_tool("progress", {"seconds": 60}, progress_callback=hear)
        waiting = asyncio.create_task(calling)
        await begun.wait()
        await world.client.hset(world.record(key), "status", "revoked")  # type: ignore[misc]
        async with asyncio.timeout(10):
            with pytest.raises(MCPError, match="was revoked"):
                await waiting


async def test_a_command_is_ended_that_takes_or_prints_too_much(world: World, key: Key) -> None:
    mark = os.urandom(8).hex()
    times = {"first_byte": "300ms"}
    await serve(world, transport="command", tools=commands(mark), timeouts=times)
    late = said(await send(world, key, call("sleep")))["result"]
    assert late["isError"] and late["content"][0]["text"].startswith("The command did not end")
    await until(lambda: processes(mark) == {})
    await serve(world, transport="command", tools=commands(mark), program={"output": "10KB"})
    flood = said(await send(world, key, call("flood")))["result"]
    assert flood["isError"] and "more than 10000 bytes" in flood["content"][0]["text"]


async def test_notifications_come_as_events_before_the_answer(world: World, key: Key) -> None:
    await serve_stdio(world)
    message = call("progress")
    message["params"]["_meta"] = {"progressToken": "mine"}
    answer = await send(world, key, message)
    assert answer.headers["Content-Type"] == "text/event-stream"
    found = messages(answer)
    assert [one.get("params", {}).get("progress") for one in found] == [0, 1, 2, None]
    assert found[-1]["id"] == 7 and found[0]["params"]["progressToken"] == "mine"


async def test_a_program_that_falls_silent_after_its_first_words_is_told_to_be_late(
    world: World, key: Key
) -> None:
    await serve_stdio(world, timeouts={"idle": "300ms"})
    message = call("progress", seconds=60)
    message["params"]["_meta"] = {"progressToken": 1}
    *_, last = messages(await send(world, key, message))
    assert last["id"] == 7 and last["error"]["code"] == 504


async def test_a_crash_is_an_answer(world: World, key: Key) -> None:
    await serve_stdio(world)
    answer = await send(world, key, call("crash"))
    error = answer.json["error"]
    assert answer.json["id"] == 7 and error["code"] == 502
    assert error["data"]["error"]["code"] == "upstream_unreachable"
    assert said(await send(world, key, call("echo")))["result"]


async def test_a_program_that_cannot_be_started_is_unreachable(world: World, key: Key) -> None:
    await serve(world, transport="stdio", command=["no-such-program"])
    assert code(await send(world, key, call("echo"))) == (502, "upstream_unreachable")


async def test_calls_of_programs_are_on_record_before_they_run(world: World, key: Key) -> None:
    await serve(world, transport="command", tools=commands("m"))
    assert (await send(world, key, call("show", region="eu"))).status == 200
    (made,) = await records(world, "tool.call")
    assert (made["agent"], made["tool"], made["user"]) == ("tools/fc", "show", "u1")
    assert made["credentials"] == [{"name": "user/u1/github", "version": 1}]
    (result,) = await come(world, "tool.result", 1)
    for name in ("request_id", "key_id", "consumer", "agent", "tool", "user"):
        assert result[name] == made[name] != ""
    assert result["credentials"] == made["credentials"]
    assert (result["status"], result["code"], result["decision"]) == (200, "", "allowed")
    assert result["latency_ms"] > 0 and result["ts"] > made["ts"]
    assert TOKEN not in json.dumps(await records(world))
