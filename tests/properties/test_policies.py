"""No bytes make the policy loader do anything but answer: policies, or problems with places."""

from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.protocol.policy.read import Loaded, read_policies

FIELDS = ("version", "agents", "plans", "trusted_proxies", "upstream", "hosts", "routes")
FIELDS += ("path", "methods", "action", "public", "timeouts", "connect", "max_body", "paths")
FIELDS += ("allow", "rate", "burst", "quota", "a", "p")
WORDS = ("http://127.0.0.1:1", "https://[::1]/b", "/chat", "/**", "GET", "10/s", "5/d", "2s")
PUNCTUATION = (":", " ", "\n", "-", "?", "{", "}", "[", "]", ",", "#")
WORDS += ("10MB", "//", "h.test", "10.0.0.0/8", "yes", "~", "", "*x", "&x", "!!str", "<<", "\x00")

leaves = st.one_of(
    st.sampled_from(WORDS), st.integers(-2, 2**70), st.booleans(), st.none(), st.text(max_size=8)
)
trees = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=4)), below, max_size=4),
    ),
    max_leaves=20,
)
texts = st.lists(
    st.one_of(st.sampled_from(FIELDS), st.sampled_from(WORDS), st.sampled_from(PUNCTUATION)),
    max_size=40,
).map("".join)


def check(loaded: Loaded, size: int) -> None:
    assert (loaded.policies is None) == bool(loaded.problems)
    for problem in (*loaded.problems, *loaded.warnings):
        assert problem.place.file == "p.yaml"
        assert 1 <= problem.place.line <= size + 1
        assert 1 <= problem.place.column <= size + 1
        assert problem.message


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"%YAML 9.9\n---\n")
@example(b"\xff\xfea\x00")
def test_any_bytes(content: bytes) -> None:
    check(read_policies({"p.yaml": content}), len(content))


@given(texts)
def test_any_text_in_the_words_of_the_format(text: str) -> None:
    check(read_policies({"p.yaml": text.encode()}), len(text))


@given(trees)
def test_any_tree_of_values(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    check(read_policies({"p.yaml": text.encode()}), len(text))


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=3), unique=True, max_size=8), st.data())
@settings(max_examples=30)
def test_what_is_written_is_what_is_read(names: list[str], data: st.DataObject) -> None:
    ports = {name: data.draw(st.integers(1, 65535)) for name in names}
    agents = {name: {"upstream": f"http://127.0.0.1:{port}"} for name, port in ports.items()}
    # Names such as `no` need their quotes, and safe_dump gives them.
    text = yaml.safe_dump({"version": 1, "agents": agents})
    policies = read_policies({"p.yaml": text.encode()}).policies
    assert policies is not None
    assert {name: agent.upstreams[0].port for name, agent in policies.agents.items()} == ports
