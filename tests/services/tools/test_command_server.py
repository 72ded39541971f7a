"""The gateway as an MCP server for commands: what checks arguments, and what that costs others."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.crypto.draw import draw
from gateway.domain.keys.key import compose
from gateway.domain.policies.tools import CommandTool
from gateway.services.tools.argument_schemas import misfit
from gateway.services.tools.command_server import CommandServer
from gateway.services.tools.command_tools import CommandResult

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "pattern": "^[a-z]+$"},
        "ids": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]},
    },
    "required": ["region"],
}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"region": "eu"}, ""),
        ({}, "$: 'region' is a required property"),
        ({"region": "EU"}, "$.region: 'EU' does not match '^[a-z]+$'"),
        ({"ids": ["a", 1]}, "$: 'region' is a required property"),
        ({"region": "eu", "ids": ["a", 1]}, "$.ids[1]: 1 is not of type 'string'"),
        ({"region": "eu", "either": {}}, "$.either: 'name' is a required property"),
    ],
)
def test_the_mistake_that_matters_most_is_told(arguments: dict[str, Any], told: str) -> None:
    assert misfit(SCHEMA, arguments) == told


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("^[a-z]+$", "eu", True),
        ("^[a-z]+$", "eu\n", False),
        ("^(a$|b)", "a\n", False),
        (r"^\d+$", "1", True),
        (r"^\d+$", "\N{ARABIC-INDIC DIGIT THREE}", False),
        (r"^\w+$", "\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("^[$]+$", "$$", True),
        (r"^\$1$", "$1", True),
        (r"^\\$", "\\", True),
        (r"^\\$", "\\\n", False),
        (r"^[\]$]$", "]", True),
        ("^[]$]$", "$", True),
    ],
)
def test_a_pattern_matches_as_in_json_schema(pattern: str, value: str, fits: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    assert (misfit(schema, {"a": value}) == "") == fits


def test_a_text_that_is_too_long_is_not_matched() -> None:
    """Some patterns take twice as long for each further letter."""
    described = {"type": "string", "pattern": "^(a+)+$", "maxLength": 10}
    schema = {"type": "object", "properties": {"a": described}}
    assert misfit(schema, {"a": "a" * 22 + "!"}).endswith("is too long")
    assert "does not match" in misfit(schema, {"a": "aaa!"})
    assert not misfit(schema, {"a": "a" * 10})


def test_a_text_of_any_length_is_matched_only_where_the_schema_says_so() -> None:
    """Of this pattern it would take hours, in which nobody else in the worker has a turn."""
    described: dict[str, Any] = {"type": "string", "pattern": "[a-z]+$"}
    schema = {"type": "object", "properties": {"a": described}}
    assert not misfit(schema, {"a": "a" * 4_096})
    assert misfit(schema, {"a": "a" * 1_000_000 + "!"}) == (
        f"'{'a' * 40}'… has more than 4096 characters, the most for a 'pattern' without 'maxLength'"
    )
    described["maxLength"] = 5_000
    assert not misfit(schema, {"a": "a" * 5_000})


@pytest.mark.parametrize(
    "described", [{"not": {"pattern": ";"}}, {"if": {"pattern": ";"}, "then": False}]
)
def test_a_text_that_is_not_matched_does_not_pass_for_one_that_does_not_match(
    described: dict[str, Any],
) -> None:
    """A schema that forbids a pattern would let in what is only long enough."""
    schema = {"type": "object", "properties": {"a": {"type": "string", **described}}}
    assert not misfit(schema, {"a": "a"})
    assert misfit(schema, {"a": ";"})
    assert "more than 4096 characters" in misfit(schema, {"a": ";" + "a" * 4_096})


def test_a_pattern_matches_so_wherever_a_schema_refers_to_it() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": {"pattern": "^[a-z]+$"}, "again": {"$ref": "#"}},
    }
    assert misfit(schema, {"again": {"a": "eu"}}) == ""
    assert "does not match" in misfit(schema, {"again": {"a": "eu\n"}})


async def run(tool: CommandTool, arguments: Mapping[str, Any]) -> CommandResult:
    return CommandResult("ran", failed=False)


def called(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


async def test_a_key_in_place_of_a_tools_name_is_told_without_its_secret() -> None:
    key, server = compose("live", draw(12), draw(32)), CommandServer("fc", ())
    answer = await server.answer(called(key.text, {}), "", run, stateless=False)
    assert answer["error"]["message"] == f"Unknown tool: agk_live_{key.id}_…"


async def test_arguments_that_take_long_to_check_leave_others_their_turn() -> None:
    server = CommandServer("fc", (CommandTool("x", "", SCHEMA, ("true",)),))
    arguments = {"region": "eu", "ids": [*["a"] * 100_000, *[1] * 10_000]}
    request = called("x", arguments)
    answering = asyncio.create_task(server.answer(request, "", run, stateless=False))
    turns = 0
    while not answering.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert "$.ids[1000" in answering.result()["result"]["content"][0]["text"]
    assert turns > 20
