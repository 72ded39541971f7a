"""Whatever reads an accepted path after the gateway sees the same path: decoded once or twice,
with dots resolved before or after, with other separators, parameters cut, slashes merged."""

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import PATH_ODDITIES
from gateway.protocol.http.target import Target, parse_target, route_path

PIECES = [
    *(b"/", b"//", b"a", b"B", b"secret", b".", b"..", b"...", b"%2e", b"%2E", b".%2e", b"%2e."),
    *(b"%25", b"%252e", b"%25%32%65", b"%%32%65", b"%32", b"%65", b"%2f", b"%252f", b"%5c", b"\\"),
    *(b";", b"%3b", b"%3f", b"%23", b"#", b"%00", b"%0a", b"%20", b" ", b"~", b"%41", b"%c3%a9"),
    *(b"%c0%ae", b"%c0%af", b"%e0%80%ae", b"%e2%80%a4", b"%ef%bc%8e", b"%ef%bc%8f", b"%u002e"),
    *(b"%e2%80%a5", b"%ff", b"\xe9", b"%2", b"%zz", b":", b"@", b"=", b"&", b"+", b"%2b"),
]
PLAIN = st.sampled_from([b"/", b"/a", b"B", b"%41", b"%c3%a9", b"...", b"%20", b"x=1", b"%25"])
PATHS = st.lists(
    st.one_of(PLAIN, PLAIN, PLAIN, st.sampled_from(PIECES), st.binary(max_size=3)), max_size=9
).map(lambda pieces: b"/a" + b"".join(pieces))
Reader = Callable[[bytes], bytes]


def resolved(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, and tolerant of blanks at a segment's end as some systems are."""
    out: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        bare = segment.rstrip(b" ")
        if bare == b"..":
            out = out[:-1]
        elif bare != b".":
            out.append(segment)
    return b"/" + b"/".join(out)


def without_parameters(path: bytes) -> bytes:
    return b"/".join(segment.split(b";")[0] for segment in path.split(b"/"))


def twice(path: bytes) -> bytes:
    return unquote_to_bytes(unquote_to_bytes(path))


READERS: dict[str, Reader] = {
    "decodes": unquote_to_bytes,
    "decodes twice": twice,
    "resolves, then decodes": lambda p: unquote_to_bytes(resolved(p)),
    "decodes, then resolves": lambda p: resolved(unquote_to_bytes(p)),
    "decodes twice, then resolves": lambda p: resolved(twice(p)),
    "takes backslashes for slashes": lambda p: resolved(unquote_to_bytes(p).replace(b"\\", b"/")),
    "cuts parameters": lambda p: resolved(without_parameters(unquote_to_bytes(p))),
    "merges slashes": lambda p: re.sub(rb"/+", b"/", unquote_to_bytes(p)),
    "stops at NUL": lambda p: unquote_to_bytes(p).split(b"\0")[0],
    "stops at ? and #": lambda p: re.split(rb"[?#]", unquote_to_bytes(p))[0],
    "urllib": lambda p: unquote_to_bytes(urlsplit(b"http://h" + p).path),
    "yarl": lambda p: URL("http://h" + p.decode("latin-1"), encoded=True).path.encode(),
}


def accepted(raw: bytes) -> Target | None:
    try:
        return parse_target(raw.replace(b"?", b"%3f"))
    except Denied as denied:
        assert denied.code is Code.BAD_REQUEST
        return None


@settings(max_examples=1500)
@given(PATHS)
@example(b"/a/%25%32%65%25%32%65/secret")
@example(b"/a/%252e%252e/secret")
@example(b"/a/..%20/secret")
def test_every_reader_of_an_accepted_path_reads_the_same(raw: bytes) -> None:
    target = accepted(raw)
    if target is None or target.oddities:
        return
    assert target.path == raw
    readings = {name: read(raw) for name, read in READERS.items()}
    assert len(set(readings.values())) == 1, readings
    segments = route_path(raw).segments
    folded = readings["decodes"].lower().split(b"/")[1:]
    assert list(segments) == (folded[:-1] if folded[-1] == b"" else folded)


@settings(max_examples=600)
@given(PATHS)
def test_what_an_agent_may_allow_never_brings_dots_or_more_than_it_names(raw: bytes) -> None:
    target = accepted(raw)
    if target is None:
        return
    raw = target.path
    assert target.oddities <= set(PATH_ODDITIES)
    decoded = twice(raw)
    for segment in re.split(rb"[/\\]", decoded):
        assert segment.split(b";")[0].strip(b" ") not in (b".", b"..")
    assert (b"//" in raw) == ("//" in target.oddities)
    for text in ("%2F", "%5C", "%3B", "%3F", "%23"):
        assert (text.lower().encode() in raw.lower()) == (text in target.oddities)


@settings(max_examples=600)
@given(st.lists(st.one_of(st.characters(), st.sampled_from("./\\;?#%")), max_size=6).map("".join))
def test_no_character_that_is_mapped_to_another_one_changes_the_segments(text: str) -> None:
    raw = b"/a/" + "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "replace")).encode()
    target = accepted(raw)
    if target is None:
        return
    decoded = unquote_to_bytes(target.path).decode()
    mapped = unicodedata.normalize("NFKC", decoded)
    if not target.oddities:
        assert mapped.count("/") == decoded.count("/") == 2
        assert not set("\\;?#") & set(mapped)
    assert mapped.rpartition("/")[2] not in (".", "..")


@pytest.mark.parametrize("raw", [b"/%2525", b"/100%25", b"/a%25b%25", b"/%25zz", b"/caf%C3%A9"])
def test_an_encoded_percent_sign_is_taken_where_nobody_can_decode_it_again(raw: bytes) -> None:
    if unquote_to_bytes(raw) == twice(raw):
        assert parse_target(raw).path == raw
    else:
        with pytest.raises(Denied):
            parse_target(raw)
