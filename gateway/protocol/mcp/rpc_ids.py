"""Many callers on one connection to an MCP server: each request gets an id of its own, and what
the server says of it is given back under the caller's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.protocol.mcp.rpc import Message, response

_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CANCELLED = "notifications/cancelled"
_PROGRESS = "notifications/progress"
METHOD_NOT_FOUND = -32601


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A request under way, as its caller named it."""

    id: Any
    progress_token: Any


@dataclass(frozen=True, slots=True)
class Said:
    """What a message of the server's is. `to`: whose it is, by the id that it was sent under;
    None: nobody's. `for_all`: of no request, so whoever listens may hear it. `is_last`: the
    response. `reply`: what the server is to be sent."""

    message: Message = field(repr=False, default_factory=dict)
    to: int | None = None
    for_all: bool = False
    is_last: bool = False
    reply: Message | None = field(repr=False, default=None)


class RpcIds:
    """The requests that are under way on one connection."""

    def __init__(self) -> None:
        self._asked: dict[int, _UnderWay] = {}
        self._last = 0

    def sent_as(self, request: Message) -> tuple[int, Message]:
        """An id that no other request has had, and `request` as it is sent under it."""
        self._last += 1
        own, params = self._last, request.get("params")
        token, changed = None, {**request, "id": own}
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and "progressToken" in meta:
            token = meta["progressToken"]
            changed["params"] = {**params, "_meta": {**meta, "progressToken": own}}
        self._asked[own] = _UnderWay(request["id"], token)
        return own, changed

    def forget(self, own: int) -> None:
        """What the server still says of it is nobody's."""
        self._asked.pop(own, None)

    def sort(self, message: Message) -> Said:
        """What `message` of the server's is, under the caller's names."""
        if "method" not in message:
            return self._response(message)
        if "id" in message:
            named = isinstance(message["id"], str | int)
            return Said(reply=_declined(message)) if named else Said()
        params = message.get("params")
        if not isinstance(params, dict):
            return Said(message, for_all=True)
        if message["method"] == _PROGRESS:
            return self._progress(message, params)
        if message["method"] == CANCELLED:
            return Said()
        meta = params.get("_meta")
        if isinstance(meta, dict) and _SUBSCRIPTION in meta:
            asked = self._of(meta[_SUBSCRIPTION])
            if asked is None:
                return Said()
            changed = {**params, "_meta": {**meta, _SUBSCRIPTION: asked.id}}
            return Said({**message, "params": changed}, to=_key(meta[_SUBSCRIPTION]))
        return Said(message, for_all=True)

    def _response(self, message: Message) -> Said:
        own = message.get("id")
        asked = self._of(own)
        if asked is None or ("result" in message) == ("error" in message):
            return Said()
        return Said({**message, "id": asked.id}, to=_key(own), is_last=True)

    def _progress(self, message: Message, params: Mapping[str, Any]) -> Said:
        token = params.get("progressToken")
        asked = self._of(token)
        if asked is None or asked.progress_token is None:
            return Said()
        changed = {**params, "progressToken": asked.progress_token}
        return Said({**message, "params": changed}, to=_key(token))

    def _of(self, own: Any) -> _UnderWay | None:
        key = _key(own)
        return None if key is None else self._asked.get(key)


def _key(own: Any) -> int | None:
    """An id of ours, also where it came back as text."""
    if isinstance(own, str) and own.isascii() and own.isdigit() and len(own) < 20:
        own = int(own)
    return own if isinstance(own, int) and not isinstance(own, bool) else None


def _declined(request: Message) -> Message:
    """The answer to a request of the server's: nobody is there whom it could ask."""
    if request["method"] == "ping":
        return response(request["id"], result={})
    error = {"code": METHOD_NOT_FOUND, "message": "This client takes no requests."}
    return response(request["id"], error=error)


def cancelled(own: int, reason: str) -> Message:
    """The notification that nobody waits for the request any more."""
    params = {"requestId": own, "reason": reason}
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": params}
