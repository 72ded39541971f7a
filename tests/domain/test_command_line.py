"""Whatever a caller gives as an argument stays one argument, and becomes no option."""

import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.command_line import completed, mistake, rendered


def schema(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT = schema("a", a={"type": "string"}, b={"default": "of the schema"})


@pytest.mark.parametrize(
    ("argv", "arguments", "expected"),
    [
        (["cli", "{a}"], {"a": "one two; rm -rf /"}, ["cli", "one two; rm -rf /"]),
        (["cli", "{a}"], {"a": "$(id) `id` {a} {b}"}, ["cli", "$(id) `id` {a} {b}"]),
        (["cli", "--region={a}"], {"a": "-x"}, ["cli", "--region=-x"]),
        (["cli", "--", "{a}"], {"a": "--all"}, ["cli", "--", "--all"]),
        (["cli", "{a}"], {"a": ""}, ["cli", ""]),
        (["cli", "{a}:{b}"], {"a": "x"}, ["cli", "x:of the schema"]),
        (["cli", "{a}:{b}"], {"a": "x", "b": "y"}, ["cli", "x:y"]),
        (["cli", "{a}"], {"a": 5}, ["cli", "5"]),
        (["cli", "{a}"], {"a": True}, ["cli", "true"]),
        (["cli", "{a}"], {"a": {"k": [1, None]}}, ["cli", '{"k":[1,null]}']),
        (["cli", "--format={{.Name}}", "{a}"], {"a": "x"}, ["cli", "--format={.Name}", "x"]),
        (["cli", "${HOME}", "$", "a$b", "{a}$"], {"a": "x"}, ["cli", "${HOME}", "$", "a$b", "x$"]),
        (["cli", "{{{a}}}"], {"a": "x"}, ["cli", "{x}"]),
    ],
)
def test_each_item_of_a_command_line_stays_one(
    argv: list[str], arguments: dict[str, Any], expected: list[str]
) -> None:
    assert rendered(argv, arguments, TEXT) == expected


def test_an_argument_may_be_described_as_anything() -> None:
    anything = {"type": "object", "properties": {"a": True, "b": {"default": 1}}, "required": ["a"]}
    assert mistake(["cli", "{a}"], anything) == ""
    assert rendered(["cli", "{a}{b}"], {"a": "x"}, anything) == ["cli", "x1"]


@pytest.mark.parametrize(
    ("argv", "arguments", "reason"),
    [
        (["cli", "{a}"], {"a": "--all"}, "'a' may not begin with '-'"),
        (["cli", "{a}"], {"a": -5}, "'a' may not begin with '-'"),
        (["cli", "{a}x", "--", "x"], {"a": "-"}, "'a' may not begin with '-'"),
        (["cli", "{a}"], {}, "'a' is missing"),
        (["cli", "{a}"], {"a": "x\0y"}, "'a' holds what cannot"),
        (["cli", "{a}"], {"a": "\ud800"}, "'a' holds what cannot"),
        (["cli", "{a}"], {"a": "x" * 200_000}, "too long"),
        (["cli", *["{a}"] * 20], {"a": "x" * 100_000}, "too long"),
    ],
)
def test_what_cannot_stand_in_a_command_line_is_refused(
    argv: list[str], arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        rendered(argv, arguments, TEXT)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["{a}"], "the program itself is no argument"),
        (["cli", "{nobody}"], "describes no argument 'nobody'"),
        (["cli", "{a b}"], "a brace as {{ or }}"),
        (["cli", "{a"], "a brace as {{ or }}"),
        (["cli", "a}"], "a brace as {{ or }}"),
        (["cli", "{a}", "{b}", "{{}}"], ""),
    ],
)
def test_a_template_that_cannot_work_is_found_before_it_runs(argv: list[str], reason: str) -> None:
    described = schema("a", a={}, b={"default": 1}, c={"type": "string"})
    found = mistake(argv, described)
    assert reason in found and bool(found) == bool(reason)


@pytest.mark.parametrize(
    ("argv", "described", "expected"),
    [
        (["cli"], {"type": "object"}, {"type": "object"}),
        (["cli"], {}, {"type": "object"}),
        (
            ["cli", "{a}"],
            {},
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ),
        (["cli", "{a}{b}"], TEXT, TEXT),
        (["cli", "{b}"], {"properties": TEXT["properties"]}, {**TEXT, "required": None}),
        (["cli", "{a}"], {"properties": TEXT["properties"]}, TEXT),
        (["cli", "{a}"], schema("c", a={}, c={}), schema("c", "a", a={}, c={})),
        (["cli", "{a}"], {"type": "object", "required": 5, "properties": {"a": {}}}, None),
    ],
)
def test_an_argument_without_a_default_is_required_where_it_stands_in_the_line(
    argv: list[str], described: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """`expected` None: as it is described, for others to find fault with."""
    wanted = described if expected is None else expected
    wanted = {name: value for name, value in wanted.items() if value is not None}
    assert completed(argv, described) == wanted


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_a_program_is_given_what_the_caller_gave(value: str) -> None:
    argv = rendered(["printf", "%s", "--", "{a}"], {"a": value}, TEXT)
    assert argv == ["printf", "%s", "--", value]


def test_a_shells_language_means_nothing() -> None:
    argv = rendered(["printf", "%s", "{a}"], {"a": "$(id) && `id`; id"}, TEXT)
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "$(id) && `id`; id"
