"""Scopes: what a key may do, and above all what no spelling of a scope lets it do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import scopes
from gateway.domain.keys.scopes import KINDS, SOME, Scope, parse, parse_all

WORD_START = "abcXYZ019"
names = st.builds(str.__add__, st.sampled_from(WORD_START), st.text(WORD_START + "._-", max_size=9))
required = st.builds(Scope, st.sampled_from(KINDS), names, names)
granted = st.builds(
    Scope, st.sampled_from(KINDS), names | st.just("*"), names | st.just("*")
) | st.just(Scope("*", "*", "*"))


def needed(text: str) -> Scope:
    scope = parse(text)
    assert scope is not None
    return scope


@given(granted)
def test_a_scope_reads_back_as_it_was_written(scope: Scope) -> None:
    assert parse(str(scope)) == scope


@given(st.text())
def test_no_text_makes_parsing_fail(text: str) -> None:
    grants = parse_all(text)
    assert " ".join(grants.unparsed) == " ".join(
        word for word in text.split(" ") if word and parse(word) is None
    )


@given(granted, required)
def test_a_scope_grants_only_its_own_kind_name_and_action(held: Scope, wanted: Scope) -> None:
    if held.grants(wanted):
        assert held.kind in ("*", wanted.kind)
        assert held.name in ("*", wanted.name)
        assert held.action in ("*", wanted.action)
    if wanted.kind == "gateway":
        assert not held.grants(wanted) or held.name == wanted.name


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        ("agents/support:chat", "agents/support:chat", True),
        ("agents/support:chat", "agents/support:files", False),
        ("agents/support", "agents/support:chat", True),
        ("agents/support:*", "agents/support:chat", True),
        ("agents/*", "agents/support:chat", True),
        ("agents/*:chat", "agents/support:chat", True),
        ("agents/*:chat", "agents/support:files", False),
        ("*", "agents/support:chat", True),
        ("*", "tools/fc:list", True),
        ("*", "gateway/admin:invoke", False),
        ("gateway/*", "gateway/admin:invoke", False),
        ("gateway/admin", "gateway/admin:invoke", True),
        ("gateway/admin", "gateway/credentials:crm", False),
        ("gateway/credentials:crm", "gateway/credentials:crm", True),
        ("gateway/credentials:crm", "gateway/credentials:erp", False),
        ("agents/support", "agents/support-2:chat", False),
        ("agents/support-2", "agents/support:chat", False),
        ("agents/Support", "agents/support:chat", False),
        ("models/*", "agents/support:chat", False),
        ("agents/support:Chat", "agents/support:chat", False),
    ],
)
def test_what_a_held_scope_allows(held: str, wanted: str, allowed: bool) -> None:
    assert parse_all(held).allow(needed(wanted)) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agents",
        "agents/",
        "/support",
        "agents/support:",
        "agents/support:chat:more",
        "agents/sup*",
        "agents/*port",
        "agents/**",
        "agent/support",
        "Agents/support",
        "*/support",
        "*:chat",
        "**",
        "agents/support/chat",
        "agents/.hidden",
        "agents/-x",
        "agents/sup port",
        "agents/support\n",
        "agents/süpport",
        "agents/" + "a" * 129,
    ],
)
def test_what_is_no_scope_grants_nothing(text: str) -> None:
    assert parse(text) is None
    assert not scopes.from_items([text]).allow(Scope("agents", "support", "chat"))


def test_an_item_that_does_not_parse_leaves_the_others_as_they_are() -> None:
    grants = parse_all("agents/support:chat nonsense  models/gpt-4 agents/sup*")
    assert grants.unparsed == ("nonsense", "agents/sup*")
    assert grants.allow(needed("agents/support:chat"))
    assert grants.allow(needed("models/gpt-4:invoke"))
    assert not grants.allow(needed("agents/support:files"))


@pytest.mark.parametrize("gap", ["\t", "\n", "\r\n", "\v", "\x1f", "\x85", "\u00a0", "\u3000"])
def test_what_only_looks_like_a_blank_parts_no_scopes_and_so_grants_nothing(gap: str) -> None:
    grants = parse_all(f"agents/a{gap}agents/b agents/c")
    assert [str(scope) for scope in grants.scopes] == ["agents/c:*"]
    assert grants.unparsed == (f"agents/a{gap}agents/b",)


@pytest.mark.parametrize("held", ["tools/fc:list", "tools/fc", "tools/*:list", "*"])
def test_where_some_action_is_needed_any_on_that_name_will_do(held: str) -> None:
    assert parse_all(held).allow(Scope("tools", "fc", SOME))
    assert parse_all("tools/erp:list agents/fc:list").allow(Scope("tools", "fc", SOME)) is False


def test_a_scope_that_is_missing_is_told_as_it_would_be_written() -> None:
    assert str(Scope("tools", "fc", "list")) == "tools/fc:list"
    assert str(Scope("tools", "fc", SOME)) == "tools/fc"


@pytest.mark.parametrize("text", ["", "*", ".a", "-a", "a b", "a/b", "a:b", "a\n", "ä", "a" * 129])
def test_a_name_is_a_word_without_wildcards(text: str) -> None:
    assert not scopes.is_name(text)
    assert scopes.is_name("gpt-4.1_mini")
    assert scopes.is_name("a" * 128)


def test_no_scopes_allow_nothing() -> None:
    assert not parse_all("").allow(needed("agents/support:chat"))
    assert not scopes.parse_all("   ").scopes
