"""The gateway as an MCP server for tools that are commands. The official MCP package implements the
protocol.

Imported only if a policy has such tools: the package is an extra, and takes a second to load.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

import anyio
import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped]
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
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from gateway import __version__
from gateway.domain.keys.key import masked
from gateway.domain.policies.tools import CommandTool
from gateway.protocol.mcp.rpc import response
from gateway.services.tools.command_tools import CommandResult

LONGEST_REASON = 300
# Each item of an array that does not fit is a mistake: the best one among the first is reported.
MOST_MISTAKES = 64
# Even of `[a-z]+$` the time grows with the square of the length: here, a twentieth of a second.
LONGEST_MATCHED = 4_096
# A `$` that is an anchor, or (group 1) an escape or a class, in which `$` is none.
_ANCHOR = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\$", re.DOTALL)

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


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return why `arguments` do not fit `schema`; empty if they do."""
    # With its `$schema`, a reference to the whole schema would be checked by the class it names.
    checked = {name: value for name, value in schema.items() if name != "$schema"}
    # Nothing is fetched, whatever a schema refers to.
    validator = _strict(_validator_for(schema))(checked, registry=Registry())
    try:
        problem = best_match(islice(validator.iter_errors(dict(arguments)), MOST_MISTAKES))
    except Unresolvable as unresolvable:
        return f"their schema refers to {unresolvable.ref!r}, which is not in it"
    except ValidationError as unmatched:
        return unmatched.message
    return "" if problem is None else f"{problem.json_path}: {problem.message[:LONGEST_REASON]}"


@cache
def _strict(kind: type[Validator]) -> type[Validator]:
    """Return `kind` with patterns as JSON Schema means them."""
    strict: type[Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        kind, {"pattern": _pattern}
    )
    return strict


def _pattern(
    _: Validator, pattern: str, value: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    r"""Yield a mistake if `value` does not match `pattern` as ECMAScript defines it; raise it if
    that is not tried: in a `not`, a mistake would let the text in.

    In Python `$` also matches before a line break at the end, and `\d` matches any digit of
    Unicode: `^[a-z]+$` would let a line break into a command line.

    A text that is too long is not matched: that may take time that grows with the length without
    bound, and holds up the whole process. Beyond `maxLength` it is refused anyway.
    """
    if not isinstance(value, str):
        return
    if len(value) <= schema.get("maxLength", LONGEST_MATCHED):
        ours = _ANCHOR.sub(lambda found: found[1] or r"\Z", pattern)
        if re.search(ours, value, re.ASCII) is None:
            yield ValidationError(f"{value!r} does not match {pattern!r}")
    elif "maxLength" not in schema:
        told = f"{value[:40]!r}… has more than {LONGEST_MATCHED} characters"
        raise ValidationError(f"{told}, the most for a 'pattern' without 'maxLength'")


def schema_mistake(schema: Mapping[str, Any]) -> str:
    """Return why `schema` is no JSON Schema of a tool's arguments; empty if it is one."""
    if schema.get("type") != "object":
        return "'input' describes an object: write 'type: object'"
    try:
        _validator_for(schema).check_schema(dict(schema))
    except SchemaError as problem:
        return f"'input' is no JSON Schema: {problem.json_path}: {problem.message[:LONGEST_REASON]}"
    except (AttributeError, TypeError, ValueError):
        # The package assumes that this is a URI.
        return "'input' is no JSON Schema: $['$schema'] is no URI"
    dialect = _validator_for(schema).META_SCHEMA["$schema"]
    root = specification_with(dialect, default=DRAFT202012).create_resource(schema)
    absent = _absent_reference(SPECIFICATIONS.resolver_with_root(root), root)
    return f"'input' refers to {absent!r}, which is not in it" if absent else ""


def _absent_reference(resolver: Any, schema: Resource[Any]) -> str:
    """Return a reference in `schema` that leads out of it or nowhere; empty if there is none."""
    if isinstance(schema.contents, Mapping):
        given = map(schema.contents.get, ("$ref", "$dynamicRef"))
        for reference in (one for one in given if isinstance(one, str)):
            try:
                resolver.lookup(reference)
            # The package takes each part of a pointer for one of a mapping or a list.
            except (Unresolvable, TypeError, ValueError):
                return reference
    below = (_absent_reference(resolver.in_subresource(one), one) for one in schema.subresources())
    return next(filter(None, below), "")


def _validator_for(schema: Mapping[str, Any]) -> Any:
    return jsonschema.validators.validator_for(dict(schema), jsonschema.Draft202012Validator)


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
