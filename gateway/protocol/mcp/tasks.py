"""Tasks in MCP messages: where ids of a server's tasks stand, and what is told of a task.

Clients can have tasks too, which a server asks for: those ids are the clients' own, and are left
alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.domain.errors import Code
from gateway.protocol.mcp.rpc import LOOKS_LIKE_ANOTHER, Message, Rpc, RpcDenied
from gateway.protocol.strict_json import look_alike

# Where an id stands: the object or list, and the name or index in it.
Place = tuple[Any, Any]

_ID, _IDS, _WANTED = "taskId", "taskIds", "notifications"
_SPELLED = frozenset({"taskid", "taskids", _WANTED})
# Notifications about a task of the side that sends them begin with this.
_TASK_NOTIFICATIONS = "notifications/tasks"
# Members that describe a task, without the outcome of its call.
_STATUS_MEMBERS = frozenset({_ID, "status", "statusMessage", "createdAt", "lastUpdatedAt", "_meta"})
_STATUS_MEMBERS |= {"ttl", "ttlMs", "pollInterval", "pollIntervalMs"}
# The notification that tells a caller which tasks it subscribed to.
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_RELATED = "io.modelcontextprotocol/related-task"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def may_be_named_in(body: bytes) -> bool:
    """False only if a caller's message names no task, to any reader. It is a quick check: searching
    a message takes as long as parsing it."""
    return b"task" in body.lower() or b"\\" in body or not body.isascii()


def named_in(rpc: Rpc) -> Iterator[Place]:
    """Yield where a caller's message names tasks of the server; raise RpcDenied if some readers
    would find one that others do not."""
    related = list(_related(rpc.params, rpc.message.get("result")))
    own = {} if rpc.method.startswith(_TASK_NOTIFICATIONS) else rpc.params
    wanted = own.get(_WANTED)
    for one in (*related, *_objects((own, wanted))):
        if look_alike(one.keys() - {_ID, _IDS}, _SPELLED) or one.keys() & {"taskid", "taskids"}:
            raise RpcDenied(Code.BAD_REQUEST, LOOKS_LIKE_ANOTHER, rpc_id=rpc.id)
    yield from ((one, _ID) for one in (*related, own) if _ID in one)
    yield from _listed(wanted)


def told_in(message: Message) -> Iterator[Place]:
    """Yield where a server's message names tasks of its own."""
    result, params, method = message.get("result"), message.get("params"), message.get("method")
    found = [*_related(params, result), *_objects((result,))]
    if isinstance(result, dict):
        listed = result.get("tasks")
        found += _objects((result.get("task"), *(listed if isinstance(listed, list) else ())))
    if isinstance(method, str) and method.startswith(_TASK_NOTIFICATIONS):
        found += _objects((params,))
    yield from ((one, _ID) for one in found if isinstance(one.get(_ID), str))
    if method == _ACKNOWLEDGED and isinstance(params, dict):
        yield from _listed(params.get(_WANTED))


def may_be_told(params: Mapping[str, Any]) -> bool:
    """Whether a request with these params may be answered with a task: the caller accepts one, or
    the request is part of one."""
    meta = params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    client = meta.get(_CAPABILITIES)
    takes_one = "task" in params or (isinstance(client, dict) and bool(client.get("extensions")))
    return takes_one or _RELATED in meta


def without_outcome(message: Message) -> Message:
    """Return the message, if it is a notification about a task, without the outcome of its call."""
    method, params = message.get("method"), message.get("params")
    if not (
        isinstance(method, str)
        and method.startswith(_TASK_NOTIFICATIONS)
        and isinstance(params, dict)
    ):
        return message
    return {**message, "params": {name: params[name] for name in params if name in _STATUS_MEMBERS}}


def no_task(rpc: Rpc) -> RpcDenied:
    """Return the refusal of a task that is not the caller's."""
    return RpcDenied(Code.NOT_FOUND, "There is no such task: make the call again.", rpc_id=rpc.id)


def _listed(holder: Any) -> Iterator[Place]:
    listed = holder.get(_IDS) if isinstance(holder, dict) else None
    if isinstance(listed, list):
        yield from ((listed, number) for number in range(len(listed)))


def _related(*holders: Any) -> Iterator[dict[str, Any]]:
    metas = _objects(one.get("_meta") for one in _objects(holders))
    return _objects(meta.get(_RELATED) for meta in metas)


def _objects(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (one for one in values if isinstance(one, dict))
