"""The transports `stdio` and `command`, for tools that are programs on this machine."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from gateway.domain.policies.tools import CommandTool, Toolset
from gateway.protocol.mcp.message import STATELESS, negotiated
from gateway.protocol.mcp.rpc import Message, response
from gateway.protocol.mcp.rpc_ids import CANCELLED
from gateway.proxy.tools.program_request import ProgramRequest
from gateway.proxy.tools.running_requests import RunningRequests
from gateway.services.tools.command_tools import CommandCall, CommandResult, CommandTools
from gateway.services.tools.stdio_pool import PoolKey, ServerSpec, StdioPool
from gateway.services.tools.stdio_server import StdioServer

if TYPE_CHECKING:
    # The package `mcp` takes a second to import and 40 MB, and is optional.
    from gateway.services.tools.command_server import CommandServer

# Capabilities that need a session, of which there is none: notifications would reach nobody.
_UNSERVED = ("listChanged", "subscribe")


class _Transport:
    """Common to both. There are no sessions, since the next request may reach another worker."""

    def __init__(self) -> None:
        self._running = RunningRequests()

    def _is_accepted(self, call: ProgramRequest) -> bool:
        """Whether the message needs no response: a notification, or a response itself."""
        if call.message.get("method") == CANCELLED:
            self._running.cancel(call)
        return "id" not in call.message or "method" not in call.message


class StdioTransport(_Transport):
    """Sends each request to the one server process that runs for this key and user."""

    def __init__(self, pool: StdioPool) -> None:
        super().__init__()
        self._pool = pool

    async def ask(self, call: ProgramRequest) -> AsyncGenerator[Message, None]:
        if self._is_accepted(call):
            return _nothing()
        server, stateless = call.server, call.version == STATELESS
        key = PoolKey(server.name, call.key_id, call.user, stateless)
        spec = ServerSpec(server.tools, dict(call.env), tuple(use.name for use in call.uses))
        program = await self._pool.server(key, spec, call.secrets)
        if call.message["method"] == "initialize" and not stateless:
            return _once(_greeted(call.message, program.greeting))
        return self._running.track(call, self._asked(program, key, spec, call))

    async def _asked(
        self, program: StdioServer, key: PoolKey, spec: ServerSpec, call: ProgramRequest
    ) -> AsyncGenerator[Message, None]:
        if not program.is_open:
            # Others had a turn since it was found, and ended it: to make room, or to replace it.
            program = await self._pool.server(key, spec, call.secrets)
        asked = program.ask(call.message, call.secrets, call.server.timeouts)
        async with aclosing(asked):
            async for message in asked:
                yield message


class CommandTransport(_Transport):
    """Answers by itself as an MCP server, and runs a command for each call of a tool."""

    def __init__(self, commands: CommandTools) -> None:
        super().__init__()
        self._commands = commands
        self._servers: dict[str, tuple[Toolset, CommandServer]] = {}

    async def ask(self, call: ProgramRequest) -> AsyncGenerator[Message, None]:
        if self._is_accepted(call):
            return _nothing()
        return self._running.track(call, self._answered(call))

    async def _answered(self, call: ProgramRequest) -> AsyncGenerator[Message, None]:
        tools = call.server.tools

        async def run(tool: CommandTool, arguments: Mapping[str, Any]) -> CommandResult:
            outcome = await self._commands.run(
                CommandCall(
                    call.server.name,
                    tools,
                    tool,
                    arguments,
                    call.key_id,
                    call.user,
                    dict(call.env),
                    call.secrets,
                    call.server.timeouts.first_byte,
                )
            )
            call.reflected(outcome.seen)
            return outcome

        stateless = call.version == STATELESS
        server = self._server(call.server.name, tools)
        yield await server.answer(call.message, call.version, run, stateless=stateless)

    def _server(self, name: str, tools: Toolset) -> "CommandServer":
        kept = self._servers.get(name)
        if kept is None or kept[0] is not tools:
            kept = self._servers[name] = (tools, _command_server(name, tools.tools))
        return kept[1]


def _command_server(name: str, tools: tuple[CommandTool, ...]) -> "CommandServer":
    from gateway.services.tools.command_server import CommandServer

    return CommandServer(name, tools)


def _greeted(request: Message, greeting: Mapping[str, Any]) -> Message:
    """Return the answer to a caller's `initialize`, made from the one that the gateway got."""
    params = request.get("params")
    spec = params.get("protocolVersion") if isinstance(params, dict) else None
    spoken = str(greeting.get("protocolVersion", ""))
    version = negotiated(min(spec, spoken) if isinstance(spec, str) else spoken)
    offered = greeting.get("capabilities")
    capabilities = {
        name: _served(value)
        for name, value in (offered if isinstance(offered, dict) else {}).items()
    }
    result = {**greeting, "protocolVersion": version, "capabilities": capabilities}
    return response(request["id"], result=result)


def _served(capability: Any) -> Any:
    if not isinstance(capability, dict):
        return capability
    return {name: value for name, value in capability.items() if name not in _UNSERVED}


async def _nothing() -> AsyncGenerator[Message, None]:
    return
    yield


async def _once(message: Message) -> AsyncGenerator[Message, None]:
    yield message
