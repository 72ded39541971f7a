"""Task ids: callers see them sealed for their key and user, the server its own."""

import asyncio

from gateway.crypto.sessions import Owner
from gateway.protocol.mcp import tasks
from gateway.protocol.mcp.rpc import Message, Rpc
from gateway.services.tools.sessions import ToolSessions

# Tasks of a list that are sealed before other requests have their turn.
_AT_ONCE = 64


async def open_tasks(rpc: Rpc, sessions: ToolSessions, owner: Owner) -> None:
    """Unseal the task ids in a caller's message, in place; raise RpcDenied(not_found) if one is not
    the caller's."""
    for holder, place in tasks.named_in(rpc):
        sealed = holder[place]
        task = await sessions.open(sealed, owner.tasks) if isinstance(sealed, str) else None
        if task is None:
            raise tasks.no_task(rpc)
        holder[place] = task


async def seal_tasks(message: Message, sessions: ToolSessions, owner: Owner) -> None:
    """Seal the task ids in a server's message, in place."""
    for number, (holder, place) in enumerate(tasks.told_in(message), 1):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        if isinstance(holder[place], str):
            holder[place] = await sessions.seal(holder[place], owner.tasks)
