"""Requests of many callers on one connection to an MCP server: each is sent under an id of the
gateway's own, and what the server says about it is given back under the caller's id."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.protocol.mcp.rpc import Message, response

_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CANCELLED = "notifications/cancelled"
_PROGRESS = "notifications/progress"
METHOD_NOT_FOUND = -32601
# Every server answers this, at least that it does not know the method. No caller has this id.
ALIVE = {"jsonrpc": "2.0", "id": "alive", "method": "ping"}


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request under way, as its caller named it."""

    id: Any
    progress_token: Any


@dataclass(frozen=True, slots=True)
class Routed:
    """A message of the server. `to`: the request that it belongs to, by the id it was sent under;
    None: none. `for_all`: it belongs to no request, so every listener gets it. `is_last`: it is the
    response. `reply`: what to send to the server."""

    message: Message = field(repr=False, default_factory=dict)
    to: int | None = None
    for_all: bool = False
    is_last: bool = False
    reply: Message | None = field(repr=False, default=None)


class RpcIds:
    """The requests that are under way on one connection."""

    def __init__(self) -> None:
        self._under_way: dict[int, _Pending] = {}
        self._last = 0

    def sent_as(self, request: Message) -> tuple[int, Message]:
        """Return an id that no other request has had, and `request` as it is sent under that id."""
        self._last += 1
        own, params = self._last, request.get("params")
        token, changed = None, {**request, "id": own}
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and "progressToken" in meta:
            token = meta["progressToken"]
            changed["params"] = {**params, "_meta": {**meta, "progressToken": own}}
        self._under_way[own] = _Pending(request["id"], token)
        return own, changed

    def forget(self, own: int) -> None:
        """Drop whatever the server still says about this request."""
        self._under_way.pop(own, None)

    def route(self, message: Message) -> Routed:
        """Return whom a message of the server is for, with the caller's ids in it."""
        if "method" not in message:
            return self._response(message)
        if "id" in message:
            named = isinstance(message["id"], str | int)
            return Routed(reply=_declined(message)) if named else Routed()
        params = message.get("params")
        if not isinstance(params, dict):
            return Routed(message, for_all=True)
        if message["method"] == _PROGRESS:
            return self._progress(message, params)
        if message["method"] == CANCELLED:
            return Routed()
        meta = params.get("_meta")
        if isinstance(meta, dict) and _SUBSCRIPTION in meta:
            request = self._of(meta[_SUBSCRIPTION])
            if request is None:
                return Routed()
            changed = {**params, "_meta": {**meta, _SUBSCRIPTION: request.id}}
            return Routed({**message, "params": changed}, to=_key(meta[_SUBSCRIPTION]))
        return Routed(message, for_all=True)

    def _response(self, message: Message) -> Routed:
        own = message.get("id")
        request = self._of(own)
        if request is None or ("result" in message) == ("error" in message):
            return Routed()
        return Routed({**message, "id": request.id}, to=_key(own), is_last=True)

    def _progress(self, message: Message, params: Mapping[str, Any]) -> Routed:
        token = params.get("progressToken")
        request = self._of(token)
        if request is None or request.progress_token is None:
            return Routed()
        changed = {**params, "progressToken": request.progress_token}
        return Routed({**message, "params": changed}, to=_key(token))

    def _of(self, own: Any) -> _Pending | None:
        key = _key(own)
        return None if key is None else self._under_way.get(key)


def _key(own: Any) -> int | None:
    """Return an id of the gateway's own, also if it came back as a string; None if it is none."""
    if isinstance(own, str) and own.isascii() and own.isdigit() and len(own) < 20:
        own = int(own)
    return own if isinstance(own, int) and not isinstance(own, bool) else None


def _declined(request: Message) -> Message:
    """Return the answer to a request of the server: no caller can answer it."""
    if request["method"] == "ping":
        return response(request["id"], result={})
    error = {"code": METHOD_NOT_FOUND, "message": "This client takes no requests."}
    return response(request["id"], error=error)


def cancelled(own: int, reason: str) -> Message:
    """Return the notification that nobody waits for the request any more."""
    params = {"requestId": own, "reason": reason}
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": params}
