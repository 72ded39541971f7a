"""Scopes agree with the plainest reading of the contract, and what it forbids is granted never."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys.scopes import KINDS, Scope, parse, parse_all

NAMES = st.sampled_from(["a", "ab", "A", "a.b", "a-b", "a_b", "0", "x" * 128])
REQUIRED = st.builds(Scope, st.sampled_from(KINDS), NAMES, NAMES)
ITEMS = st.one_of(
    st.text(alphabet="ab*/:. agentsmodelsgateway", max_size=20),
    st.builds(
        lambda kind, name, action: f"{kind}/{name}{action}",
        st.sampled_from([*KINDS, "*", "agent", "Agents", ""]),
        st.one_of(NAMES, st.sampled_from(["*", "**", "a*", "", "x" * 129, ".a", "é"])),
        st.one_of(
            st.just(""), NAMES.map(":{}".format), st.sampled_from([":*", ":", ":a:b", ":a*"])
        ),
    ),
    st.sampled_from(["*", "*:*", "*/*", "gateway/*", "gateway/*:*", "gateway", "agents"]),
)
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def grants(item: str, required: Scope) -> bool:
    """Section 4 of the contract, sentence by sentence."""
    if item == "*":
        return required.kind != "gateway"
    kind, slash, rest = item.partition("/")
    name, colon, action = rest.partition(":")
    if not slash or kind not in KINDS or (colon and not action):
        return False
    action = action or "*"
    if any(word != "*" and not WORD.fullmatch(word) for word in (name, action)):
        return False
    if kind != required.kind or action not in ("*", required.action):
        return False
    return name == required.name or (name == "*" and kind != "gateway")


@settings(max_examples=1500)
@given(ITEMS, REQUIRED)
def test_an_item_grants_exactly_what_the_contract_says(item: str, required: Scope) -> None:
    scope = parse(item)
    assert (scope is not None and scope.grants(required)) == grants(item, required)


@settings(max_examples=500)
@given(st.lists(ITEMS, max_size=5), REQUIRED)
def test_a_list_grants_what_one_of_its_items_grants(items: list[str], required: Scope) -> None:
    text = " ".join(items)
    assert parse_all(text).allow(required) == any(grants(i, required) for i in text.split())


@given(st.lists(ITEMS, max_size=5), ITEMS, REQUIRED)
def test_one_more_item_never_takes_anything_away(
    items: list[str], more: str, required: Scope
) -> None:
    if parse_all(" ".join(items)).allow(required):
        assert parse_all(" ".join([*items, more])).allow(required)


@given(st.lists(ITEMS, max_size=6))
def test_no_wildcard_reaches_the_gateway_itself(items: list[str]) -> None:
    named = [item for item in items if item.startswith("gateway/admin")]
    required = Scope("gateway", "admin", "write")
    if not named:
        assert not parse_all(" ".join(items)).allow(required)
