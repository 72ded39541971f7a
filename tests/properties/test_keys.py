"""The key grammar against a second implementation of it, written from the contract alone."""

from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys.key import compose, contains_key, parse

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEYS = st.builds(
    lambda env, key_id, secret: compose(env, key_id, secret).text,
    st.sampled_from(["live", "test"]),
    st.text(BASE62, min_size=12, max_size=12),
    st.text(BASE62, min_size=32, max_size=32),
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop", "swap", "case"]),
        st.integers(0, 59),
        st.one_of(st.sampled_from(BASE62 + "_-. \n\0"), st.characters()),
    ),
    max_size=3,
)


def is_key(text: str) -> bool:
    """`agk_<env>_<id>_<secret><check>`, read from the right."""
    check, rest = text[-6:], text[:-6]
    number, value = crc32(rest.encode("utf-8", "surrogatepass")), 0
    for digit in check:
        if digit not in BASE62:
            return False
        value = value * 62 + BASE62.index(digit)
    parts = rest.split("_")
    return (
        len(check) == 6
        and len(parts) == 4
        and parts[0] == "agk"
        and parts[1] in ("live", "test")
        and [len(part) for part in parts[2:]] == [12, 32]
        and all(c in BASE62 for part in parts[2:] for c in part)
        and value == number
    )


def edited(text: str, edits: list[tuple[str, int, str]]) -> str:
    for kind, at, character in edits:
        match kind:
            case "put":
                text = text[:at] + character + text[at:]
            case "drop":
                text = text[:at] + text[at + 1 :]
            case "swap":
                text = text[:at] + character + text[at + 1 :]
            case _:
                text = text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
    return text


@settings(max_examples=600)
@given(KEYS, EDITS)
def test_a_text_is_a_key_exactly_where_the_contract_says(
    key: str, edits: list[tuple[str, int, str]]
) -> None:
    text = edited(key, edits)
    assert (parse(text) is not None) == is_key(text)


@settings(max_examples=500)
@given(KEYS, st.text(max_size=70), st.text(max_size=70))
def test_a_key_is_found_whatever_stands_around_it(key: str, before: str, after: str) -> None:
    assert contains_key(before + key + after)
    assert contains_key(before + key[:-1] + "_" + key + after), "one that is none hides no other"


@settings(max_examples=300)
@given(KEYS, EDITS.filter(bool), st.text(max_size=9))
def test_what_is_no_key_is_found_nowhere(
    key: str, edits: list[tuple[str, int, str]], around: str
) -> None:
    text = around + edited(key, edits) + around
    found = any(is_key(text[at : at + len(key)]) for at in range(len(text)))
    assert contains_key(text) == found
