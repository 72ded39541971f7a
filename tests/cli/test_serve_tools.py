"""Tools that are programs, behind a gateway as it runs in production."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.domain.children import Isolation
from gateway.domain.settings import StoreSettings
from tests.children.programs import needs, processes, python
from tests.cli.commands import VaultCommands
from tests.cli.serving import Served, refused, serving
from tests.until import until

THIEF = (Path(__file__).parents[1] / "children" / "thief.py").read_text()
PROGRAM = (Path(__file__).parents[1] / "services" / "mcp_program.py").read_text()
ONE, TWO = "token-of-the-user-u1", "token-of-the-user-u2"


HELD = """
import os
for one in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        print(one, os.readlink(f"/proc/self/fd/{one}"))
    except FileNotFoundError:
        pass
"""


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def text_of(*names: str) -> dict[str, Any]:
    described = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": described, "required": list(names)}


@dataclass
class Site:
    """A folder of an operator's, with two users' tokens and a key that may act for both."""

    commands: VaultCommands
    folder: Path
    mark: str
    key: str = ""

    def policies(self) -> None:
        env = {"env": {"TOKEN": "${user.github.value}"}}
        given = ["gateway", "other", "secret", "first", "second"]
        thief = [python(), "-c", escaped(THIEF), *(f"{{{name}}}" for name in given)]
        tools = [
            {"name": "steal", "input": text_of(*given), "argv": thief},
            {"name": "hold", "argv": [python(), "-c", escaped(HELD)]},
            {"name": "sleep", "argv": ["sh", "-c", "sleep 2; echo slept", self.mark]},
        ]
        sections = {
            "programs": {"transport": "command", "tools": tools, "inject": env},
            "server": {
                "transport": "stdio",
                "command": [python(), "-c", PROGRAM, self.mark],
                "inject": env,
            },
        }
        (self.folder / "policies").mkdir(exist_ok=True)
        file = self.folder / "policies" / "tools.yaml"
        file.write_text(json.dumps({"version": 1, "tools": sections}))

    def prepare(self) -> None:
        self.policies()
        for user, token in (("u1", ONE), ("u2", TWO)):
            self.commands.set(f"user/{user}/github", token)
        words = ["--consumer", "sales", "--scope", "tools/*", "--users", "u1,u2", "--json"]
        self.key = self.commands.gateway("keys", "create", *words).json["key"]

    @asynccontextmanager
    async def serving(
        self, *more: str, anew: bool = False, **settings: str
    ) -> AsyncIterator[Served]:
        """`anew`: what a process was started with, descriptors and environment, is its own."""
        given = self.commands.environment(**settings)
        kept = {name: value for name, value in given.items() if name.startswith("GATEWAY")}
        async with serving(*more, folder=self.folder, settings=kept, anew=anew) as served:
            yield served

    async def call(
        self, served: Served, server: str, tool: str, user: str = "u1", **arguments: Any
    ) -> dict[str, Any]:
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        host, port = served.data
        headers = {"Authorization": f"Bearer {self.key}", "X-User-Id": user}
        url = f"http://{host}:{port}/tools/{server}/mcp"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=message, headers=headers) as answer,
        ):
            found: dict[str, Any] = await answer.json()
        return found


def text(answer: dict[str, Any]) -> str:
    found: str = answer["result"]["content"][0]["text"]
    return found


@pytest.fixture
def site(store: StoreSettings, tmp_path: Path) -> Site:
    made = Site(VaultCommands(store, tmp_path), tmp_path, os.urandom(8).hex())
    made.prepare()
    return made


@pytest.mark.parametrize("isolation", [Isolation.UID, Isolation.BUBBLEWRAP])
async def test_a_tool_has_its_three_descriptors_and_none_that_the_gateway_was_given(
    site: Site, isolation: Isolation
) -> None:
    """A listener's socket would do to answer callers in the gateway's place, and read their keys.
    On the event loop of production, whose children get what others close."""
    needs(isolation)
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        # One worker, under a supervisor.
        supervised = ("--max-requests", "1000")
        settings = {"GATEWAY_TOOL_ISOLATION": isolation.value}
        async with site.serving(*supervised, anew=True, **settings) as served:
            held = text(await site.call(served, "programs", "hold"))
            served.stop()
            await served.ends()
    finally:
        os.close(kept)
    assert [line.split()[0] for line in held.splitlines()] == ["0", "1", "2"], held


@pytest.mark.parametrize("isolation", [Isolation.UID, Isolation.BUBBLEWRAP])
async def test_a_hostile_tool_gets_nothing_of_the_gateways_nor_of_another_user(
    site: Site, isolation: Isolation
) -> None:
    needs(isolation)
    pepper = site.folder / "pepper"
    pepper.write_text(site.commands.environment()["GATEWAY_PEPPER"])
    pepper.chmod(0o600)
    settings = {"GATEWAY_PEPPER_FILE": str(pepper), "GATEWAY_TOOL_ISOLATION": isolation.value}
    async with site.serving(anew=True, **settings) as served:
        assert text(await site.call(served, "server", "measure")) == str(len(ONE))
        other = max(processes(site.mark))
        found = await site.call(
            served,
            "programs",
            "steal",
            "u2",
            gateway=str(served.process.pid),
            other=str(other),
            secret=ONE,
            first=str(pepper),
            second=str(site.folder / ".gateway"),
        )
        assert json.loads(text(found)) == []
        assert processes(ONE) == {} and processes(TWO) == {}


async def test_sigterm_lets_calls_end_and_leaves_no_program(site: Site) -> None:
    async with site.serving("--tool-isolation", "none") as served:
        await site.call(served, "server", "echo")
        sleeping = asyncio.create_task(site.call(served, "programs", "sleep"))
        await until(lambda: len(processes(site.mark)) >= 2)
        served.stop()
        assert text(await sleeping) == "slept\n"
        assert await served.ends() == 0
        assert processes(site.mark) == {}


async def test_a_gateway_that_is_killed_leaves_no_program(site: Site) -> None:
    async with site.serving("--tool-isolation", "none") as served:
        assert any(one["event"] == "tools_not_isolated" for one in served.events)
        await site.call(served, "server", "echo")
        sleeping = asyncio.create_task(site.call(served, "programs", "sleep"))
        await until(lambda: len(processes(site.mark)) >= 2)
        served.stop(signal.SIGKILL)
        await until(lambda: processes(site.mark) == {})
        await asyncio.gather(sleeping, return_exceptions=True)


async def test_what_would_not_be_kept_apart_is_refused_beyond_loopback(site: Site) -> None:
    given = site.commands.environment(GATEWAY_ACCESS_LOG="off")
    settings = {name: value for name, value in given.items() if name.startswith("GATEWAY")}
    listen = ("serve", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0")
    exit_code, said = await refused(
        *listen, "--tool-isolation", "none", folder=site.folder, settings=settings
    )
    assert (exit_code, "install bubblewrap" in said) == (1, True), said


async def test_a_key_file_that_programs_could_read_is_refused(site: Site) -> None:
    needs(Isolation.UID)
    # A directory that every user may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        pepper = Path(folder) / "pepper"
        pepper.write_text(site.commands.environment()["GATEWAY_PEPPER"])
        pepper.chmod(0o644)
        given = site.commands.environment(GATEWAY_PEPPER_FILE=str(pepper))
        settings = {name: value for name, value in given.items() if name.startswith("GATEWAY")}
        listen = ("serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
        exit_code, said = await refused(*listen, folder=site.folder, settings=settings)
        assert exit_code == 1 and f"could read {pepper}: chmod 600 it" in said


def test_a_schema_that_is_none_is_found_by_policy_check(tmp_path: Path) -> None:
    commands = VaultCommands(StoreSettings(None, tmp_path / "state"), tmp_path)
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "tools.yaml"
    file.write_text(
        "version: 1\ntools:\n  fc:\n    transport: command\n    tools:\n"
        "      - {name: a, input: {type: object, required: 5}, argv: [ls]}\n"
        "      - {name: b, input: {type: array}, argv: [ls]}\n"
        "      - {name: c, input: {type: object, properties: {x: {$ref: 'https://x.test/y'}}}, "
        "argv: [ls]}\n"
        "      - {name: d, input: {type: object, properties: {x: {$ref: '#/$defs/x'}}}, "
        "argv: [ls]}\n"
        "      - {name: e, input: {type: object, properties: {$ref: {$ref: '#/$defs/x'}}, "
        "$defs: {x: {enum: [{$ref: y}], $ref: '#/$defs/z'}, z: {$anchor: z}}}, argv: [ls]}\n"
        "      - {name: f, input: {type: object, properties: {x: "
        "{$ref: 'https://json-schema.org/draft/2020-12/schema'}}}, argv: [ls]}\n"
        "      - {name: g, input: {type: object, minProperties: 1, properties: {x: "
        "{$ref: '#/minProperties/x'}}}, argv: [ls]}\n"
    )
    ended = commands.gateway("policy", "check")
    assert ended.code == 1
    assert "tools.yaml:3:3: a: 'input' is no JSON Schema" in ended.out
    assert "tools.yaml:3:3: b: 'input' describes an object" in ended.out
    assert "c: 'input' refers to 'https://x.test/y', which is not in it" in ended.out
    assert "d: 'input' refers to '#/$defs/x', which is not in it" in ended.out
    assert "g: 'input' refers to '#/minProperties/x', which is not in it" in ended.out
    assert ": e: " not in ended.out
    assert ": f: " not in ended.out, "the package brings the schema of schemas"
