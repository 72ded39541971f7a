"""Callers on one connection do not see each other, whatever ids they choose."""

from typing import Any

import pytest

from gateway.protocol.mcp.rpc_ids import RpcIds, cancelled


def call(request_id: object, token: object = None) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "t"}
    if token is not None:
        params["_meta"] = {"progressToken": token, "other": 1}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def said(method: str, **params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def test_two_callers_with_the_same_id_get_their_own_answers() -> None:
    ids = RpcIds()
    one, first = ids.sent_as(call(1))
    two, second = ids.sent_as(call(1))
    assert one != two and first["id"] == one and second["id"] == two
    answer = ids.route({"jsonrpc": "2.0", "id": two, "result": {"n": 2}})
    assert (answer.to, answer.is_last) == (two, True)
    assert answer.message == {"jsonrpc": "2.0", "id": 1, "result": {"n": 2}}


@pytest.mark.parametrize("request_id", [0, "a", "1", 2**60, ""])
def test_an_id_comes_back_as_it_was_given(request_id: object) -> None:
    ids = RpcIds()
    own, _ = ids.sent_as(call(request_id))
    error = {"code": -1, "message": "no"}
    # Some servers give numbers back as text.
    answer = ids.route({"jsonrpc": "2.0", "id": str(own), "error": error})
    assert answer.message["id"] == request_id and answer.to == own


def test_progress_goes_to_whoever_asked_for_it_under_its_own_token() -> None:
    ids = RpcIds()
    own, sent = ids.sent_as(call(1, token="mine"))
    other, _ = ids.sent_as(call(1))
    assert sent["params"]["_meta"] == {"progressToken": own, "other": 1}
    told = ids.route(said("notifications/progress", progressToken=own, progress=5))
    assert told.to == own and not told.is_last
    assert told.message["params"] == {"progressToken": "mine", "progress": 5}
    assert ids.route(said("notifications/progress", progressToken=other, progress=5)).to is None


def test_what_a_subscription_hears_is_its_own() -> None:
    ids = RpcIds()
    key = "io.modelcontextprotocol/subscriptionId"
    own, _ = ids.sent_as({"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen"})
    told = ids.route(said("notifications/tools/list_changed", _meta={key: own}))
    assert told.to == own and told.message["params"]["_meta"] == {key: "s"}
    nobody = ids.route(said("notifications/tools/list_changed", _meta={key: 99}))
    assert nobody.to is None and not nobody.for_all


@pytest.mark.parametrize(
    "message",
    [
        {"id": 99, "result": {}},
        {"id": None, "result": {}},
        {"id": True, "result": {}},
        {"id": [1], "result": {}},
        {"id": 1},
        {"id": 1, "result": {}, "error": {}},
        {"id": "9" * 5_000, "result": {}},
        {"id": "\u0661", "result": {}},
        {"id": "+1", "result": {}},
        {"id": 1.0, "result": {}},
        {"id": [[1]], "method": "ping"},
        {"id": None, "method": "ping"},
        said("notifications/cancelled", requestId=1),
        said("notifications/progress", progressToken={"a": 1}),
    ],
)
def test_what_was_not_asked_for_is_nobodys(message: dict[str, Any]) -> None:
    ids = RpcIds()
    ids.sent_as(call(7))
    found = ids.route(message)
    assert (found.to, found.for_all, found.reply) == (None, False, None)


def test_what_is_forgotten_is_nobodys() -> None:
    ids = RpcIds()
    own, _ = ids.sent_as(call(7))
    ids.forget(own)
    assert ids.route({"id": own, "result": {}}).to is None
    again, _ = ids.sent_as(call(8))
    assert ids.route({"id": own, "result": {}}).to is None, "it comes late, and is not the next's"
    assert ids.route({"id": again, "result": {}}).to == again
    assert cancelled(own, "why")["params"] == {"requestId": own, "reason": "why"}


def test_a_server_that_asks_is_told_that_nobody_answers() -> None:
    ids = RpcIds()
    ping = ids.route({"jsonrpc": "2.0", "id": "p", "method": "ping"})
    assert ping.reply == {"jsonrpc": "2.0", "id": "p", "result": {}}
    asked = ids.route({"jsonrpc": "2.0", "id": 3, "method": "sampling/createMessage"})
    assert asked.reply is not None and asked.reply["error"]["code"] == -32601


def test_what_belongs_to_no_request_is_for_all() -> None:
    ids = RpcIds()
    assert ids.route(said("notifications/message", data="x")).for_all
    assert ids.route({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).for_all
