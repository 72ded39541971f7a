"""One spelling of a path, and everything disputed refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import compose
from gateway.domain.policies.snapshot import PATH_ODDITIES
from gateway.protocol.http.target import parse_target, route_path

KEY = compose("live", "abcdefghijkl", "s" * 32).text


@pytest.mark.parametrize(
    "raw",
    [
        b"/",
        b"/agents/support/chat",
        b"/a/.well-known/x",
        b"/a/..b/c.",
        b"/a/100%25",
        b"/a/my%20doc.pdf",
        b"/a/caf%C3%A9",
        b"/a/(x)!$&'*+,=:@~_-|{}",
        b"/a?x=/../%2e%2e//;\\",
    ],
)
def test_a_plain_path_is_taken_byte_for_byte(raw: bytes) -> None:
    target = parse_target(raw)
    assert target.path + target.query == raw
    assert target.oddities == frozenset()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"*",
        b"agents/x",
        b"http://elsewhere/agents/x",
        b"elsewhere:443",
        b"/a/../b",
        b"/a/./b",
        b"/a/..",
        b"/a/.",
        b"/a/%2e%2e/b",
        b"/a/.%2E/b",
        b"/a/%2e/b",
        b"/a/%252e%252e/b",
        b"/a/..;/b",
        b"/a/..;x=1/b",
        b"/a/..%20/b",
        b"/a/%20./b",
        b"/a/..%2fb",
        b"/a/..\\b",
        b"/a/..%5cb",
        b"/a/..%3fb",
        b"/a/..%23",
        b"/a/%2e%3bx%3f/b",
        b"/a/%00",
        b"/a/%0d%0a",
        b"/a/%1f",
        b"/a/%7f",
        b"/a/%",
        b"/a/%4",
        b"/a/%zz",
        b"/a/%252f",
        b"/a/%c0%ae%c0%ae/b",
        b"/a/%c0%af",
        b"/a/%ff",
        b"/a/%ed%a0%80",
        b"/a/%ef%bc%8e%ef%bc%8e/b",
        b"/a/%ef%bc%8f",
        b"/a/%ef%bc%bc",
        b"/a/%ef%bc%9b",
        b"/a/%ef%bc%9f",
        b"/a/%ef%bc%83",
        b"/a/%ef%bc%852e",
        b"/a/%c2%85",
        b"/a#b",
        b"/a?x#b",
        b"/a b",
        b"/a\tb",
        b"/a\xc3\xa9",
        b"/a?\x80",
    ],
)
@pytest.mark.denial("bad_request")
def test_what_two_readers_could_take_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(Denied) as refused:
        parse_target(raw)
    assert refused.value.code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("raw", "oddity"),
    [
        (b"/a//b", "//"),
        (b"//a", "//"),
        (b"/a/", None),
        (b"/a;x=1", ";"),
        (b"/a\\b", "\\"),
        (b"/a%2Fb", "%2F"),
        (b"/a%2fb", "%2F"),
        (b"/a%5cb", "%5C"),
        (b"/a%3bb", "%3B"),
        (b"/a%3fb", "%3F"),
        (b"/a%23b", "%23"),
    ],
)
def test_an_oddity_that_an_agent_may_allow_is_named(raw: bytes, oddity: str | None) -> None:
    assert parse_target(raw).oddities == (frozenset({oddity}) if oddity else frozenset())


@pytest.mark.parametrize(
    "query",
    [KEY, f"key={KEY}", f"x=1&k={KEY}&y=2", KEY.replace("_", "%5F"), KEY.replace("a", "%61")],
)
def test_a_key_in_the_query_is_refused_and_not_repeated(query: str) -> None:
    with pytest.raises(Denied) as refused:
        parse_target(b"/agents/x?" + query.encode())
    assert KEY not in str(refused.value)
    assert "URL" in str(refused.value)


def test_something_that_only_resembles_a_key_passes_in_the_query() -> None:
    assert parse_target(b"/x?agk_live_" + b"a" * 51).query


@given(st.binary(max_size=60))
def test_any_bytes_are_either_kept_exactly_or_refused(raw: bytes) -> None:
    try:
        target = parse_target(b"/" + raw)
    except Denied as refused:
        assert refused.code is Code.BAD_REQUEST
        return
    assert target.path + target.query == b"/" + raw
    assert target.oddities <= set(PATH_ODDITIES)


@given(st.lists(st.sampled_from([b"a", b".", b"..", b"%2e", b"%2E%2e", b"", b"%2f", b"\\", b";"])))
def test_no_spelling_of_a_dot_segment_gets_through(parts: list[bytes]) -> None:
    raw = b"/" + b"/".join(parts)
    try:
        parse_target(raw)
    except Denied:
        return
    plain = raw.lower().replace(b"%2e", b".").replace(b"%2f", b"/").replace(b"\\", b"/")
    assert not {b".", b".."} & {part.partition(b";")[0] for part in plain.split(b"/")}


@pytest.mark.parametrize(
    ("rest", "segments"),
    [
        (b"/", ()),
        (b"/Chat", (b"chat",)),
        (b"/chat/", (b"chat",)),
        (b"/ch%61t", (b"chat",)),
        (b"/ch%61t/", (b"chat",)),
        (b"/ch%61t//", (b"chat", b"")),
        (b"/a%2Fb/c", (b"a/b", b"c")),
        (b"/a//b", (b"a", b"", b"b")),
        (b"/CAF%C3%89", ("cafÉ".encode(),)),
    ],
)
def test_routes_compare_after_one_decode_with_ascii_case_folded(
    rest: bytes, segments: tuple[bytes, ...]
) -> None:
    assert route_path(rest).segments == segments
    assert route_path(rest).raw == rest
