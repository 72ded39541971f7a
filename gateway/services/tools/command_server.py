"""The gateway as an MCP server for tools that are commands. The official MCP package implements the
protocol.

Imported only if a policy has such tools: the package is an extra, and takes a second to load.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.message import MessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ErrorData,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from mcp.types.version import LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError as NoMessageError

from gateway import __version__
from gateway.domain.keys.key import masked
from gateway.domain.policies.tools import CommandTool
from gateway.protocol.mcp.rpc import response
from gateway.services.tools.argument_schemas import misfit
from gateway.services.tools.command_tools import CommandResult

# Runs a tool with arguments that fit its schema.
Run = Callable[[CommandTool, Mapping[str, Any]], Awaitable[CommandResult]]


class CommandServer:
    """Answers requests of any MCP revision about `tools`."""

    def __init__(self, name: str, tools: tuple[CommandTool, ...]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._server: Server[Run] = Server(
            name,
            version=__version__,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def answer(
        self, request: Mapping[str, Any], version: str, run: Run, *, stateless: bool
    ) -> dict[str, Any]:
        """Return the response to `request`. `version`: of MCP; `stateless`: the revision has no
        handshake, so each request says by itself who asks."""
        method, params = request["method"], request.get("params")
        try:
            connection = _connection(request, version, stateless=stateless)
            result = await serve_one(
                self._server,
                _Context(request["id"]),
                method,
                params,
                connection=connection,
                lifespan_state=run,
            )
        except (MCPError, NoMessageError) as problem:
            error = modern_error_data(problem)
            return response(request["id"], error=error.model_dump(mode="json", exclude_none=True))
        return response(request["id"], result=result)

    async def _list(
        self, _: ServerRequestContext[Run], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(
                    name=tool.name,
                    description=tool.description or None,
                    input_schema=dict(tool.input),
                )
                for tool in self._tools.values()
            ]
        )

    async def _call(
        self, context: ServerRequestContext[Run], params: CallToolRequestParams
    ) -> CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError.from_error_data(
                ErrorData(code=INVALID_PARAMS, message=f"Unknown tool: {masked(params.name)}")
            )
        arguments = params.arguments or {}
        # A long array takes seconds.
        reason = await asyncio.to_thread(misfit, tool.input, arguments)
        outcome = (
            CommandResult(f"The arguments do not fit: {reason}", failed=True)
            if reason
            else await context.lifespan_context(tool, arguments)
        )
        content = [TextContent(type="text", text=outcome.text)]
        return CallToolResult(content=list(content), is_error=outcome.failed)


def _connection(request: Mapping[str, Any], version: str, *, stateless: bool) -> Connection:
    if not stateless:
        return Connection.from_envelope(version or LATEST_HANDSHAKE_VERSION, None, {})
    route = classify_inbound_request({"method": request["method"], "params": request.get("params")})
    if isinstance(route, InboundLadderRejection):
        raise MCPError(code=route.code, message=route.message, data=route.data)
    return Connection.from_envelope(
        route.protocol_version, route.client_info, route.client_capabilities
    )


@dataclass
class _Context:
    """What the MCP package must know of a request; here without a server-to-client channel."""

    request_id: str | int
    transport: TransportContext = field(
        default_factory=lambda: TransportContext(kind="gateway", can_send_request=False)
    )
    message_metadata: MessageMetadata = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    can_send_request: bool = False

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Do nothing: nobody listens."""

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Do nothing: nobody listens."""
