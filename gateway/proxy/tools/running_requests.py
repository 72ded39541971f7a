"""Calls of programs that are under way, so that their callers can cancel them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

from gateway.domain.errors import Denied
from gateway.protocol.mcp import rpc
from gateway.protocol.mcp.rpc import Message
from gateway.proxy.tools.program_request import ProgramRequest
from gateway.tasks import retrieve_exception

# JSON-RPC has no code for this: a caller that cancelled its call reads no answer.
_CANCELLED = 499

Name = tuple[str, str, str, str]


class RunningRequests:
    """The calls under way, by server, key, user and the caller's id for the call."""

    def __init__(self) -> None:
        self._running: defaultdict[Name, list[asyncio.Future[Any]]] = defaultdict(list)

    async def track(
        self, call: ProgramRequest, source: AsyncGenerator[Message, None]
    ) -> AsyncGenerator[Message, None]:
        """Yield what `source` gives, to its end. If the call is cancelled, or fails after the first
        message, the response says so; raise Denied if it fails before. `source` is closed in any
        case."""
        name = _name(call, call.message["id"])
        cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._running[name].append(cancelled)
        step = None
        begun = False
        try:
            while True:
                step = asyncio.ensure_future(anext(source, None))
                await asyncio.wait({step, cancelled}, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    error = {"code": _CANCELLED, "message": "The call was cancelled."}
                    yield rpc.response(call.message["id"], error=error)
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
            self._running[name].remove(cancelled)
            if not self._running[name]:
                del self._running[name]
            if step is not None and step.done():
                retrieve_exception(step)
            elif step is not None:
                await stop(step)
            await source.aclose()

    def cancel(self, call: ProgramRequest) -> None:
        """Cancel the call that a `notifications/cancelled` names. Where several calls have the same
        id, it is unclear which one is meant, and none is cancelled."""
        params = call.message.get("params")
        wanted = params.get("requestId") if isinstance(params, dict) else None
        found = self._running.get(_name(call, wanted), ())
        if len(found) == 1 and not found[0].done():
            found[0].set_result(None)


async def stop(step: asyncio.Future[Any]) -> None:
    """Cancel `step` and wait for its end. It is not awaited directly: its cancellation could not be
    told from one of the waiting task."""
    step.cancel()
    step.add_done_callback(retrieve_exception)
    await asyncio.wait({step})


def _name(call: ProgramRequest, request_id: Any) -> Name:
    return (call.server.name, call.key_id, call.user, repr(request_id))
