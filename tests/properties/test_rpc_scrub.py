"""No message of a tool server shows a secret, however JSON spells it and wherever it stands."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.mcp.rpc_scrub import Known, Search, decode
from gateway.protocol.secrets import Secrets

SECRET = 'ghp_"5e\\cret/ö with\n<odd>&chars'
NUMBER = "4471100817263544"
LONG_NUMBER = "447110081726354447110081"

spelled = st.sampled_from(
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(json.dumps([SECRET])),
        quote(SECRET, safe=""),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"x" + SECRET.encode() + b"yz").decode(),
        base64.encodebytes(b"before " + SECRET.encode() * 4).decode(),
        "\n".join(SECRET.encode().hex()[i : i + 7] for i in range(0, 99, 7)),
    ]
)
plain = st.text(max_size=8)
texts = st.builds(lambda a, s, b: a + s + b, plain, spelled, plain) | plain
leaves = (
    texts
    | st.integers(-(2**80), 2**80)
    | st.booleans()
    | st.none()
    | st.sampled_from([int(NUMBER), int(LONG_NUMBER)])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


def found(*secrets: str) -> Known:
    made = Secrets(tuple((f"n{i}", value) for i, value in enumerate(secrets))).known
    assert made is not None
    return made


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for pair in value.items() for one in pair for s in strings(one)]
    if isinstance(value, list):
        return [s for one in value for s in strings(one)]
    return [repr(value)]


def escaped(text: str) -> str:
    """Every character of every text in `text`, which is JSON, as an escape."""
    whole = json.loads(text)

    def write(value: Any) -> str:
        if isinstance(value, str):
            units = value.encode("utf-16-be", "surrogatepass").hex()
            return '"' + "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)) + '"'
        if isinstance(value, dict):
            return "{" + ",".join(f"{write(k)}:{write(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return json.dumps(value)

    return write(whole)


@given(values, st.booleans())
def test_no_text_of_a_message_holds_a_secret_in_any_spelling(value: Any, escape: bool) -> None:
    text = json.dumps({"result": value})
    search = Search(found(SECRET, NUMBER, LONG_NUMBER))
    shown = json.loads(search.written(decode((escaped(text) if escape else text).encode())))
    for one in strings(shown):
        assert LONG_NUMBER[:12] not in one.replace(".", "")
        assert not found(SECRET, NUMBER).plain.matches(one.encode("utf-8", "surrogatepass"))
        joined = one.replace("\n", "").replace("\r", "")
        for spelling in (SECRET.encode().hex(), base64.b64encode(SECRET.encode()).decode()[:-4]):
            assert spelling not in joined


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(plain | numbers, st.lists))
def test_a_message_without_a_secret_means_what_it_meant(value: Any) -> None:
    search = Search(found("a secret of some length"))
    assert json.loads(search.written({"result": value})) == {"result": value}
    assert search.seen == set()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b'{"n":123456789012345678901234567890}', b'{"n":123456789012345678901234567890}'),
        (b'{"n":-9999999999999999999}', b'{"n":-9999999999999999999}'),
        (b'{"n":[NaN,1e999],"m":123456789012345678901234567890}', b'{"n":[null,null],"m":1'),
        (b'{"n":[-Infinity,1.5],"s":"\\ud800"}', b'{"n":[null,1.5],"s":"\\ud800"}'),
    ],
)
def test_a_number_is_shown_as_it_was_said_and_none_is_null(said: bytes, shown: bytes) -> None:
    assert Search(found("a secret of some length")).written(decode(said)).startswith(shown)


def test_what_was_found_is_known_by_its_name() -> None:
    search = Search(found(SECRET, NUMBER))
    shown = search.message({"a": f"x{SECRET}y", "b": [int(NUMBER)], SECRET: 1})
    assert shown == {"a": "x[redacted:n0]y", "b": ["[redacted:n1]"], "[redacted:n0]": 1}
    assert search.seen == {b"[redacted:n0]", b"[redacted:n1]"}


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("spelled", [str, lambda s: s.encode().hex()], ids=["plain", "hex"])
def test_a_secret_that_is_folded_within_a_text_is_replaced(
    spelled: Callable[[str], str], end: str
) -> None:
    secret = "a-secret-of-some-length"
    whole = spelled(secret)
    for width in (1, 7):
        folded = end.join(whole[at : at + width] for at in range(0, len(whole), width))
        written = Search(found(secret)).written({"result": f"<{folded}>"})
        assert written == b'{"result":"<[redacted:n0]>"}'


@pytest.mark.parametrize("levels", range(3))
def test_a_secret_of_several_lines_is_replaced_also_as_json_within_json(
    levels: int,
) -> None:
    text = SECRET
    for _ in range(levels):
        text = json.dumps(text)
    search = Search(found(SECRET))
    assert b"odd" not in search.written({"result": text})
    assert search.seen == {b"[redacted:n0]"}


def test_what_stands_for_a_secret_does_not_tell_its_length() -> None:
    short, long = (Search(found("s" * n)).message({"a": "s" * n}) for n in (8, 80))
    assert short == long


def test_a_secret_as_a_list_of_its_bytes_is_replaced_in_the_list() -> None:
    """As Node writes a Buffer."""
    first, *rest = SECRET.encode()
    for before, shown in ((first, "[redacted:n0]"), (1000 + first, "1[redacted:n0]")):
        search = Search(found(SECRET))
        data = [7, before, *rest, 300, -1]
        written = search.written({"result": {"type": "Buffer", "data": data}})
        assert json.loads(written)["result"]["data"] == [7, shown, 300, -1]
        assert search.seen == {b"[redacted:n0]"}
