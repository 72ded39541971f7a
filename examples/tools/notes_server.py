"""An MCP server on stdin and stdout. The gateway starts one for each user, so it needs no users."""

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes")
notes: list[str] = []


@server.tool(description="Keeps a note.")
def add(note: str) -> str:
    notes.append(note)
    # Whose they are is in the token; how much of it is there may be told.
    return f"{len(notes)} kept with {len(os.environ['NOTES_TOKEN'])} characters: {', '.join(notes)}"


if __name__ == "__main__":
    server.run("stdio")
