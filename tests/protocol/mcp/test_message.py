"""What MCP says of a message is read in one way: its headers, its scope, what a list shows."""

import base64
import json
from dataclasses import astuple
from typing import Any

import pytest

from gateway.domain.errors import Code
from gateway.domain.keys.scopes import parse_all
from gateway.protocol.mcp.headers import Fields, argument_headers, check_fields, read_fields
from gateway.protocol.mcp.message import (
    HEADER_MISMATCH,
    LATEST_HANDSHAKE,
    STATELESS,
    negotiated,
    scope_of,
    server_name,
    shown_tools,
)
from gateway.protocol.mcp.rpc import Rpc, RpcDenied, read

VERSION = "io.modelcontextprotocol/protocolVersion"


def message(method: str, *, request: bool = True, **params: Any) -> Rpc:
    made = {"jsonrpc": "2.0", "method": method, "params": params}
    return read(json.dumps(made | ({"id": 7} if request else {})).encode())


@pytest.mark.parametrize(
    "name",
    [
        b"Mcp-Session-Id",
        b"Last-Event-ID",
        b"MCP-Protocol-Version",
        b"Mcp-Method",
        b"Mcp-Name",
    ],
)
def test_a_header_of_mcp_that_is_there_twice_is_refused(name: bytes) -> None:
    """The server could take the other one."""
    with pytest.raises(RpcDenied) as denied:
        read_fields([(name, b"a"), (name.lower(), b"a")])
    assert (denied.value.code, denied.value.rpc_code) == (Code.BAD_REQUEST, HEADER_MISMATCH)
    once = read_fields([(name, b" a "), (b"X-A", b"1"), (b"X-A", b"2")])
    assert sorted(astuple(once)) == ["", "", "", "", "a"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"{",
        b"[]",
        b'{"id": 1, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 5}',
        b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "Params": {}}',
    ],
)
def test_the_refusal_of_a_message_says_what_to_send_instead(body: bytes) -> None:
    with pytest.raises(RpcDenied, match=r"Send |Encode |Spell ") as denied:
        read(body)
    assert denied.value.code is Code.BAD_REQUEST


MODERN = {"_meta": {VERSION: STATELESS}}
CAFE = "caf\u00e9"
CALL = message("tools/call", name=CAFE, **MODERN)
OLD = message("tools/call", name="x")
ENCODED = f"=?base64?{base64.b64encode(CAFE.encode()).decode()}?="


@pytest.mark.parametrize(
    ("headers", "rpc", "fine"),
    [
        (Fields(version=STATELESS, method="tools/call", name=ENCODED), CALL, True),
        (Fields(version=STATELESS, method="tools/call"), CALL, False),
        (Fields(version=STATELESS, name=ENCODED), CALL, False),
        (Fields(version=LATEST_HANDSHAKE, method="tools/call", name=ENCODED), CALL, False),
        (Fields(method="tools/call", name=ENCODED), CALL, False),
        (Fields(version=STATELESS, method="tools/call", name="cafe"), CALL, False),
        # Another reader may take an encoded name that is not quite right for another one.
        (Fields(version=STATELESS, method="tools/call", name="=?base64?Y2Fmw6k?="), CALL, False),
        (Fields(version=STATELESS, method="tools/call", name="=?base64?Y2Fmw6l=?="), CALL, False),
        (Fields(version=STATELESS, method="tools/call", name="=?base64?Y2F*mw6k=?="), CALL, False),
        (Fields(version=STATELESS, method="tools/call", name="=?base64?/w==?="), CALL, False),
        (Fields(version=STATELESS, method="tools/call", name="x"), OLD, False),
        (Fields(version=LATEST_HANDSHAKE), OLD, True),
        (Fields(version=LATEST_HANDSHAKE, method="tools/list"), OLD, False),
        (Fields(version=LATEST_HANDSHAKE, name="y"), OLD, False),
        (Fields(name="a"), message("prompts/get", name="b"), False),
        (Fields(name="b"), message("prompts/get", name="b"), True),
        (Fields(name="a"), message("resources/read", uri="b"), False),
        (Fields(name="b"), message("resources/read", uri="b", name="a"), True),
        (Fields(name="a"), message("tools/list", name="a"), False),
        (Fields(version=STATELESS), message("notifications/x", request=False), True),
    ],
)
def test_headers_say_what_the_body_says_or_the_message_is_refused(
    headers: Fields, rpc: Rpc, fine: bool
) -> None:
    if fine:
        check_fields(headers, rpc)
        return
    with pytest.raises(RpcDenied) as denied:
        check_fields(headers, rpc)
    assert (denied.value.rpc_code, denied.value.rpc_id) == (HEADER_MISMATCH, 7)


TOOLS_ALONE = {"notifications": {"toolsListChanged": True}}


@pytest.mark.parametrize(
    ("rpc", "one_tool", "another", "all_there"),
    [
        (None, True, True, True),
        (message("initialize"), True, True, True),
        (message("tools/list"), True, True, True),
        (message("notifications/cancelled", request=False), True, True, True),
        (read(b'{"jsonrpc":"2.0","id":1,"result":{}}'), True, True, True),
        (message("tools/call", name="one"), True, False, True),
        (message("tools/call", name="*"), False, False, True),
        (message("prompts/list"), False, False, True),
        (message("resources/read", uri="x"), False, False, True),
        (message("completion/complete"), False, False, True),
        (message("whatever/is/to/come"), False, False, True),
        (message("notificationsx"), False, False, True),
        (message("subscriptions/listen", **TOOLS_ALONE), True, True, True),
        (message("subscriptions/listen"), False, False, True),
        (
            message("subscriptions/listen", notifications={"resourcesListChanged": True}),
            False,
            False,
            True,
        ),
    ],
)
def test_a_key_for_a_tool_may_call_it_and_ask_what_tells_no_more(
    rpc: Rpc | None, one_tool: bool, another: bool, all_there: bool
) -> None:
    needed = scope_of("fc", rpc)
    keys = ("tools/fc:one", "tools/fc:two", "tools/fc")
    may = [parse_all(scopes).allow(needed) for scopes in keys]
    assert may == [one_tool, another, all_there]
    assert not parse_all("tools/other").allow(needed)


def test_a_list_shows_the_callers_tools_without_what_is_filled_in() -> None:
    schema = {"properties": {"key": {}, "a": {}}, "required": ["key", "a"], "x": 1}
    tools = [
        {"name": "mine", "inputSchema": schema},
        {"name": "other"},
        {"title": "nameless"},
        {"name": ["mine"]},
        "mine",
        {"name": "mine", "inputSchema": {"properties": 1, "required": 2}},
    ]
    result = {"tools": tools, "cacheScope": "public", "nextCursor": "n"}
    shown = shown_tools(result, lambda name: name.startswith("mine"), frozenset({"key"}))
    assert shown == {
        "tools": [
            {
                "name": "mine",
                "inputSchema": {"properties": {"a": {}}, "required": ["a"], "x": 1},
            },
            tools[-1],
        ],
        "cacheScope": "private",
        "nextCursor": "n",
    }
    assert "cacheScope" not in shown_tools({"tools": []}, lambda name: True, frozenset())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/tools/fc/mcp", b"fc"),
        (b"/tools//mcp", None),
        (b"/tools/mcp", None),
        (b"/tools/a/b/mcp", None),
        (b"/tools/fc/mcp/", b"fc"),
        (b"/tools/fc/mcp//", None),
        (b"/tools/fc/x", None),
        (b"/tool/fc/mcp", None),
    ],
)
def test_a_server_is_at_one_path(path: bytes, name: bytes | None) -> None:
    assert server_name(path) == name


def test_an_argument_that_is_put_in_is_repeated_in_no_header() -> None:
    assert argument_headers(["Access_Key"]) == {b"mcp-param-access-key"}


def test_a_greeting_is_agreed_on_in_a_revision_with_greetings() -> None:
    asked = ("2024-11-05", "2025-06-18", "2025-09-01", LATEST_HANDSHAKE, STATELESS, "9999", "")
    oldest = "2025-06-18"
    latest = LATEST_HANDSHAKE
    assert [*map(negotiated, asked)] == [oldest, oldest, oldest, latest, latest, latest, oldest]
