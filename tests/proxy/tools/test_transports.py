"""A program runs as the policies have it now, for its caller, with its caller's values."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.audit.record import Named
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Timeouts, ToolServer
from gateway.domain.policies.tools import CommandTool, Toolset, Transport
from gateway.protocol.mcp.rpc import Message
from gateway.protocol.secrets import Secrets
from gateway.proxy.tools import transports
from gateway.proxy.tools.program_request import ProgramRequest
from gateway.proxy.tools.transports import CommandTransport, StdioTransport
from gateway.services.tools.command_tools import CommandCall, CommandResult, CommandTools
from gateway.services.tools.stdio_pool import PoolKey, ServerSpec, StdioPool


class Commands:
    """Runs nothing, and keeps what it was to run."""

    def __init__(self) -> None:
        self.orders: list[CommandCall] = []

    async def run(self, order: CommandCall) -> CommandResult:
        self.orders.append(order)
        return CommandResult("text", failed=False, seen={b"[redacted:a]"})


class Answering:
    """Runs the first tool, whatever is asked, and answers with its name."""

    def __init__(self, name: str, tools: tuple[CommandTool, ...]) -> None:
        self._tools = tools

    async def answer(
        self, request: Message, version: str, run: Any, *, stateless: bool
    ) -> dict[str, Any]:
        await run(self._tools[0], {"w": 1})
        return {"id": request["id"], "result": (self._tools[0].name, version, stateless)}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(transports, "_command_server", Answering)
    return Commands()


class Pool:
    """Starts nothing: its servers have a greeting, and nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[PoolKey, ServerSpec]] = []

    async def server(self, seat: PoolKey, wanted: ServerSpec, secrets: Secrets) -> Any:
        self.asked.append((seat, wanted))
        offered = {"tools": {"listChanged": True, "more": 1}, "resources": {"subscribe": True}}
        return SimpleNamespace(greeting={"protocolVersion": "2025-11-25", "capabilities": offered})


def server(tool: str) -> Toolset:
    return Toolset(Transport.COMMAND, tools=(CommandTool(tool, "", {}, ("echo",)),))


def call(
    tools: Toolset,
    reflected: set[bytes],
    version: str = "2025-11-25",
    method: str = "tools/call",
    **params: str,
) -> ProgramRequest:
    fc = ToolServer("fc", (), Timeouts(1.0, 7.0, 3.0), 0, None, Inject(), tools)
    message = {"jsonrpc": "2.0", "id": 9, "method": method, "params": params}
    told = fc, message, "k1", "u1", version, (("NAME", "value"),)
    return ProgramRequest(*told, Secrets(), (Named("a", 1),), "req_1", reflected.update)


async def said(programs: CommandTransport | StdioTransport, one: ProgramRequest) -> list[Message]:
    return [message async for message in await programs.ask(one)]


async def test_a_command_that_the_policies_have_changed_is_the_one_that_runs(
    commands: Commands,
) -> None:
    seen = set[bytes]()
    programs = CommandTransport(cast(CommandTools, commands))
    before, after = server("before"), server("after")
    for tools in (before, before, after):
        (told,) = await said(programs, call(tools, seen))
        assert told == {"id": 9, "result": (tools.tools[0].name, "2025-11-25", False)}
    assert [order.tools for order in commands.orders] == [before, before, after]


async def test_a_command_runs_for_its_caller_and_what_it_printed_is_told(
    commands: Commands,
) -> None:
    seen = set[bytes]()
    programs = CommandTransport(cast(CommandTools, commands))
    (told,) = await said(programs, call(server("one"), seen, "2026-07-28"))
    assert told["result"] == ("one", "2026-07-28", True)
    (order,) = commands.orders
    assert (order.server, order.key_id, order.user, order.seconds) == ("fc", "k1", "u1", 7.0)
    assert (order.env, order.arguments) == ({"NAME": "value"}, {"w": 1})
    assert seen == {b"[redacted:a]"}


async def test_a_server_is_its_callers_alone_and_has_what_goes_into_the_call() -> None:
    """Also where no value tells one user's program from another's."""
    pool, tools = Pool(), server("one")
    programs = StdioTransport(cast(StdioPool, pool))
    for wanted, agreed in (("2025-06-18", "2025-06-18"), ("2027-01-01", "2025-11-25")):
        asked = call(tools, set(), method="initialize", protocolVersion=wanted)
        (told,) = await said(programs, asked)
        assert (told["id"], told["result"]["protocolVersion"]) == (9, agreed)
        assert told["result"]["capabilities"] == {"tools": {"more": 1}, "resources": {}}
    seat, had = pool.asked[0]
    assert seat == PoolKey("fc", "k1", "u1", stateless=False)
    assert (had.tools, had.env, had.credentials) == (tools, {"NAME": "value"}, ("a",))


class Speaking:
    """A program that answers with its number, while it takes calls."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_open = True

    async def ask(self, request: Message, *_: object) -> AsyncGenerator[Message, None]:
        assert self.is_open
        yield {"id": request["id"], "result": self.number}


async def test_a_call_whose_program_ends_before_it_was_asked_is_made_of_the_next_one() -> None:
    """It may have had to make room for others in the very turn in which it was found."""
    started: list[Speaking] = []

    async def server(*_: object) -> Speaking:
        if not started or not started[-1].is_open:
            started.append(Speaking(len(started)))
        return started[-1]

    programs = StdioTransport(cast(StdioPool, SimpleNamespace(server=server)))
    first, second = [await programs.ask(call(Toolset(Transport.STDIO), set())) for _ in range(2)]
    assert [one["result"] async for one in first] == [0]
    started[0].is_open = False
    assert [one["result"] async for one in second] == [1]
