"""A real MCP server over streamable HTTP, for the tests: `python -m tests.flows.mcp_server`.

It prints two ports: of a server that answers with events, and of one that answers with JSON. Its
tools tell whatever they were given, in every way that a tool has.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.message import ServerMessageMetadata
from mcp_types import JSONRPCMessage, ListRootsRequest, ListRootsResult

from tests.flows.mcp_spellings import SPELLINGS

server: Any = MCPServer("spills", instructions="Tells what it is told.")


def token(context: Any) -> str:
    headers = context.request_context.request.headers
    return str(headers.get("authorization", "")).removeprefix("Bearer ")


@server.tool(description="Says what it was called with.")
async def whoami(context: Context, region: str = "", access_key: str = "") -> dict[str, Any]:
    headers = dict(context.request_context.request.headers)
    return {"region": region, "key_length": len(access_key), "headers": sorted(headers)}


@server.tool(description="Returns its secret in some spelling.")
async def spill(context: Context, how: str) -> str:
    return f"before {SPELLINGS[how](token(context))} after"


@server.tool(description="Returns its secret as a name, a number of texts, and deep inside.")
async def spill_structured(context: Context) -> dict[str, Any]:
    secret = token(context)
    return {secret: 1, "deep": [[{"a": f"x{secret}y"}]], "fine": "fine"}


@server.tool(description="Fails, and says why.")
async def fail(context: Context) -> str:
    raise ToolError(f"could not log in with {token(context)}")


@server.tool(description="Tells of its progress, and logs.")
async def chatter(context: Context) -> str:
    for i in range(3):
        await context.report_progress(i, 3, f"step {i} with {token(context)}")
    return "done"


@server.tool(description="Asks the caller for its name.")
async def ask(context: Context) -> str:
    # On the call's own stream: the SDK drops what is for the client's other one until that is open.
    beside = ServerMessageMetadata(related_request_id=context.request_id)
    asked = ListRootsRequest(), ListRootsResult
    answer = await context.session.send_request(*asked, metadata=beside)
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool(description="Takes as long as it is told.")
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@server.resource("notes://today")
def notes() -> str:
    return "a note"


@server.prompt()
def greet(name: str) -> str:
    return f"Greet {name}."


class Kept(EventStore):
    """Events of one process, in memory, so that a stream can be taken up again."""

    def __init__(self) -> None:
        self.events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        at = int(last_event_id)
        stream = self.events[at - 1][0]
        for number, (found, message) in enumerate(self.events[at:], at + 1):
            if found == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def main() -> None:
    serving, ports = [], []
    for as_json in (False, True):
        store = None if as_json else Kept()
        app = server.streamable_http_app(json_response=as_json, event_store=store)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", ws="none")
        serving.append(uvicorn.Server(config).serve([listener]))
        ports.append(listener.getsockname()[1])
    sys.stdout.write(" ".join(map(str, ports)) + "\n")
    sys.stdout.flush()
    await asyncio.gather(*serving)


if __name__ == "__main__":
    asyncio.run(main())
