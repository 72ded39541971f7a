"""A real MCP server over stdio, made with the official package, that tells what it was given."""

import os

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("stdio")


@server.tool()
def whoami(region: str) -> str:
    return f"{region} {os.environ['TOKEN']}"


@server.tool()
async def steps(number: int, ctx: Context) -> str:
    for step in range(number):
        await ctx.report_progress(step + 1, number)
    return "done"


@server.tool()
def fail() -> str:
    raise ValueError(f"no luck with {os.environ['TOKEN']}")


@server.prompt()
def greet() -> str:
    return "Greet them."


server.run("stdio")
