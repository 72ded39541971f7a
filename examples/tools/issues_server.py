"""An MCP server over HTTP that knows people by their tokens: python issues_server.py PORT."""

import sys
from hashlib import sha256

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("issues")


def token_of(context: Context) -> str:
    request = context.request_context.request
    return str(request.headers.get("authorization", "")).removeprefix("Bearer ")


@server.tool(description="Finds issues of the account that calls.")
async def search(text: str, context: Context) -> str:
    account = sha256(token_of(context).encode()).hexdigest()[:8]
    return f"account {account} has 1 issue about {text!r}"


@server.tool(description="A careless one, which tells what it was called with.")
async def debug(context: Context) -> str:
    return f"called with the token {token_of(context)}"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]), json_response=True)
