"""A message is gone through for tasks wherever some reader may find one in it."""

import json

import pytest

from gateway.protocol.mcp import rpc, tasks
from gateway.protocol.mcp.rpc import RpcDenied

RELATED = "io.modelcontextprotocol/related-task"


def written(params: dict[str, object]) -> bytes:
    message = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": params}
    return json.dumps(message, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        written({"taskId": "t"}),
        written({"_meta": {RELATED: {"taskId": "t"}}}),
        written({"notifications": {"taskIds": ["t"]}}),
        written({"TASKID": "t"}),
        written({"taskid": "t"}),
        written({"notifications": {"taskids": ["t"]}}),
        # Whoever ignores case takes these for ASCII.
        written({"ta\u017fkId": "t"}),
        written({"tas\u212aId": "t"}),
        written({"taskId": "t"}).replace(b"task", b"t\\u0061sk"),
        written({"_meta": {RELATED: {"taskId": "t"}}}).replace(b"task", b"\\u0074ask"),
    ],
)
def test_none_is_overlooked(body: bytes) -> None:
    assert tasks.may_be_named_in(body)
    try:
        found = list(tasks.named_in(rpc.read(body)))
    except RpcDenied:
        return
    assert [holder[place] for holder, place in found] == ["t"]


def test_most_messages_are_not_gone_through() -> None:
    assert not tasks.may_be_named_in(written({"name": "whoami", "arguments": {"n": 3}}))
