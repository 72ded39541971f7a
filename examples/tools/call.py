"""What a model does, for two users: the official MCP client, and nothing but a user's id.

GATEWAY_URL=… GATEWAY_KEY=… python call.py
"""

import asyncio
import os

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

CALLS = {
    "issues": (("search", {"text": "bug"}), ("debug", {})),
    "notes": (("add", {"note": "buy milk"}),),
    "cloud": (("list_functions", {"region": "cn-shanghai"}), ("show_environment", {})),
}


async def call(user: str, server: str) -> None:
    url = f"{os.environ['GATEWAY_URL']}/tools/{server}/mcp"
    headers = {"Authorization": f"Bearer {os.environ['GATEWAY_KEY']}", "X-User-Id": user}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as mcp,
    ):
        for tool, arguments in CALLS[server]:
            answer = await mcp.call_tool(tool, arguments)
            told = " ".join(part.text for part in answer.content).strip()
            print(f"{user} {server}.{tool}: {told}", flush=True)


async def main() -> None:
    for user in ("alice", "bob"):
        for server in CALLS:
            await call(user, server)


asyncio.run(main())
