"""Calls of programs that are under way, so that their callers can cancel them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

from gateway.domain.errors import Denied
from gateway.protocol.mcp import rpc
from gateway.protocol.mcp.rpc import Message
from gateway.proxy.tools.tool_call import ToolCall
from gateway.tasks import unheard

# JSON-RPC has no code for this: a caller that cancelled its call reads no answer.
_TAKEN_BACK = 499

Name = tuple[str, str, str, str]


class UnderWay:
    """The calls under way, by server, key, user and the caller's id for the call."""

    def __init__(self) -> None:
        self._calls: defaultdict[Name, list[asyncio.Future[Any]]] = defaultdict(list)

    async def told(
        self, call: ToolCall, source: AsyncGenerator[Message, None]
    ) -> AsyncGenerator[Message, None]:
        """Yield what `source` gives, to its end. If the call is cancelled, or fails after the first
        message, the response says so; raise Denied if it fails before. `source` is closed in any
        case."""
        name = _name(call, call.message["id"])
        taken_back: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[name].append(taken_back)
        step = None
        begun = False
        try:
            while True:
                step = asyncio.ensure_future(anext(source, None))
                await asyncio.wait({step, taken_back}, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    told = {"code": _TAKEN_BACK, "message": "The call was taken back."}
                    yield rpc.response(call.message["id"], error=told)
                    return
                message = step.result()
                if message is None:
                    return
                begun = True
                yield message
        except Denied as denied:
            if not begun:
                raise
            error = rpc.rpc_error(denied, call.request_id)
            yield rpc.response(call.message["id"], error=error)
        finally:
            self._calls[name].remove(taken_back)
            if not self._calls[name]:
                del self._calls[name]
            if step is not None and not step.done():
                await stop(step)
            await source.aclose()

    def take_back(self, call: ToolCall) -> None:
        """Cancel the call that a `notifications/cancelled` names. Where several calls have the same
        id, it is unclear which one is meant, and none is cancelled."""
        params = call.message.get("params")
        wanted = params.get("requestId") if isinstance(params, dict) else None
        found = self._calls.get(_name(call, wanted), ())
        if len(found) == 1 and not found[0].done():
            found[0].set_result(None)


async def stop(step: asyncio.Future[Any]) -> None:
    """Cancel `step` and wait for its end. It is not awaited directly: its cancellation could not be
    told from one of the waiting task."""
    step.cancel()
    step.add_done_callback(unheard)
    await asyncio.wait({step})


def _name(call: ToolCall, request_id: Any) -> Name:
    return (call.server.name, call.key_id, call.user, repr(request_id))
