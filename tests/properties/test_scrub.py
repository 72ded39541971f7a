"""A secret is never shown, in whatever spelling it stands and however the stream is cut."""

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.protocol.scrub import Patterns, Scrubber, patterns, scrubbed_headers
from gateway.protocol.spellings import SHORTEST, spellings

SECRET = "tök/en+with=&\"<every>?%~'kind*"
SPELLED: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "latin": lambda s: s.encode("latin-1"),
    "url": lambda s: quote(s, safe="").encode(),
    "path": lambda s: quote(s).encode(),
    "form": lambda s: quote_plus(s).encode(),
    "url of JavaScript": lambda s: quote(s, safe="!'()*").encode(),
    "whole url of JavaScript": lambda s: quote(s, safe=";,/?:@&=+$#!'()*").encode(),
    "path of Go": lambda s: quote(s, safe="$&+=:@").encode(),
    "form of Java": lambda s: quote_plus(s, safe="*").replace("~", "%7E").encode(),
    "lower url of JavaScript": lambda s: quote(s, safe="!'()*").lower().encode(),
    "lower url": lambda s: quote(s, safe="").lower().encode(),
    "url in url": lambda s: quote(quote(s, safe=""), safe="").encode(),
    "every byte": lambda s: "".join(f"%{b:02x}" for b in s.encode()).encode(),
    "every sign in url": lambda s: _signs(s.encode().decode("latin-1"), "%%%02X").encode(),
    "every sign in url in url": lambda s: _signs(s.encode().decode("latin-1"), "%%25%02X").encode(),
    "every sign in json": lambda s: _signs(s, "\\u%04x").encode(),
    "every sign in JavaScript": lambda s: _signs(s, "\\x%02X").encode(),
    "every sign in html": lambda s: _signs(s, "&#%d;").encode(),
    "every sign in html in hex": lambda s: _signs(s, "&#x%x;").encode(),
    "every byte in url": lambda s: "".join(f"%25{b:02X}" for b in s.encode()).encode(),
    "every letter in json": lambda s: "".join(f"\\u{ord(c):04x}" for c in s).encode(),
    "EVERY letter in json in json": lambda s: "".join(f"\\\\u{ord(c):04X}" for c in s).encode(),
    "every letter in html": lambda s: "".join(f"&#{ord(c)};" for c in s).encode(),
    "every letter in html in hex": lambda s: "".join(f"&#x{ord(c):x};" for c in s).encode(),
    "hex": lambda s: s.encode().hex().encode(),
    "HEX": lambda s: s.encode().hex().upper().encode(),
    "hex of od": lambda s: s.encode().hex(" ").encode(),
    "hex as in certificates": lambda s: s.encode().hex(":").upper().encode(),
    "hex of .NET": lambda s: s.encode().hex("-").upper().encode(),
    "escapes of C": lambda s: "".join(f"\\x{b:02x}" for b in s.encode()).encode(),
    "numbers of bytes": lambda s: str(list(s.encode()))[1:-1].encode(),
    "numbers of bytes in lines": lambda s: ",\n  ".join(map(str, s.encode())).encode(),
    "numbers of bytes of a member": lambda s: ",\n    ".join(map(str, s.encode())).encode(),
    "numbers of bytes in json": lambda s: ",".join(map(str, s.encode())).encode(),
    "UTF-16": lambda s: s.encode("utf-16-le"),
    "UTF-16 of networks": lambda s: s.encode("utf-16-be"),
    "json": lambda s: json.dumps(s)[1:-1].encode(),
    "json utf-8": lambda s: json.dumps(s, ensure_ascii=False)[1:-1].encode(),
    "json of php": lambda s: json.dumps(s)[1:-1].replace("/", "\\/").encode(),
    "json of Go": lambda s: _with_units(s, "<>&", "%04x").encode(),
    "json of Gson": lambda s: _with_units(s, "<>&='", "%04x").encode(),
    "json of .NET": lambda s: _with_units(s, "\"&'+<>`ö", "%04X").encode(),
    "html": lambda s: html.escape(s).encode(),
    "html of PHP": lambda s: html.escape(s).replace("&#x27;", "&#039;").encode(),
    "xml": lambda s: html.escape(s).replace("&#x27;", "&apos;").encode(),
    "html of Handlebars": lambda s: html.escape(s).replace("=", "&#x3D;").encode(),
    "html of Mustache": lambda s: (
        html.escape(s)
        .replace("&#x27;", "&#39;")
        .replace("/", "&#x2F;")
        .replace("=", "&#x3D;")
        .encode()
    ),
    "html by numbers": lambda s: _by_numbers(s).encode(),
    "html of Go": lambda s: _by_numbers(s).replace("+", "&#43;").encode(),
    "base64": lambda s: base64.b64encode(s.encode()),
    "base64 without padding": lambda s: base64.b64encode(s.encode()).rstrip(b"="),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()),
    # What came in a header, whose bytes are not those of UTF-8.
    "base64 of a header": lambda s: base64.b64encode(s.encode("latin-1")),
    "hex of a header": lambda s: s.encode("latin-1").hex().encode(),
    "url of a header": lambda s: quote(s.encode("latin-1"), safe="").encode(),
    "header read as UTF-8": lambda s: _misread(s).replace('"', '\\"').encode(),
    "header in json": lambda s: json.dumps(_misread(s))[1:-1].encode(),
}


def _misread(secret: str) -> str:
    return secret.encode("latin-1").decode(errors="replace")


def _with_units(secret: str, which: str, form: str) -> str:
    text = json.dumps(secret, ensure_ascii=False)[1:-1].replace(
        '\\"', '"' if '"' in which else '\\"'
    )
    return "".join(f"\\u{form % ord(c)}" if c in which else c for c in text)


def _signs(secret: str, form: str) -> str:
    """As OWASP advises for pages: letters and digits are left."""
    return re.sub("[^A-Za-z0-9]", lambda found: form % ord(found[0]), secret)


def _by_numbers(secret: str) -> str:
    return html.escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def known(*values: str) -> Patterns:
    made = patterns(tuple((f"n{i}", value) for i, value in enumerate(values)))
    assert made is not None
    return made


def replaced_by_re(secrets: list[str], text: bytes) -> bytes:
    """The same in another way: of what begins at one place the longest goes."""
    names: dict[bytes, bytes] = {}
    for number, secret in enumerate(secrets):
        for spelling in spellings(secret):
            if len(bare := in_one_line(spelling)) >= SHORTEST:
                names.setdefault(bare, b"[redacted:n%d]" % number)
    longest_first = sorted(names, key=len, reverse=True)
    folded = (rb"[\r\n]*".join(re.escape(b"%c" % c) for c in one) for one in longest_first)
    return re.sub(b"|".join(folded), lambda m: names[in_one_line(m[0])], text)


def in_one_line(text: bytes) -> bytes:
    return text.translate(None, b"\r\n")


def folded(text: bytes, width: int, end: bytes) -> bytes:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def in_pieces(found: Patterns, text: bytes, cuts: list[int]) -> bytes:
    scrubber = Scrubber(found)
    places = sorted(min(cut, len(text)) for cut in cuts)
    ends = [0, *places, len(text)]
    shown = [scrubber.feed(text[a:b]) for a, b in pairwise(ends)]
    return b"".join(shown) + scrubber.end()


@pytest.mark.parametrize("name", SPELLED)
def test_each_spelling_is_replaced_at_each_place_where_the_stream_may_be_cut(name: str) -> None:
    found, text = known(SECRET), b"before " + SPELLED[name](SECRET) + b" after"
    for cut in range(len(text) + 1):
        assert in_pieces(found, text, [cut]) == b"before [redacted:n0] after"
    assert in_pieces(found, text, list(range(len(text)))) == b"before [redacted:n0] after"


@pytest.mark.parametrize("end", ["\r\n", " ", ""])
def test_a_secret_of_several_lines_is_replaced_however_they_end(end: str) -> None:
    """As on another system, in no quotes in a shell, and with none."""
    lines = ["-----BEGIN KEY-----", "MIIEvAIBADANBgkqhkiG9w0BAQ", "-----END KEY-----"]
    text = f"before {end.join(lines)} after".encode()
    for secret in ("\n".join(lines), "\n".join(lines) + "\n", "\r\n".join(lines)):
        assert in_pieces(known(secret), text, [30]) == b"before [redacted:n0] after"


@pytest.mark.parametrize("before", ["  ", "> ", "1: | "])
def test_a_secret_of_several_lines_is_replaced_line_by_line(before: str) -> None:
    lines = [
        "-----BEGIN KEY-----",
        "MIIEvAIBADANBgkq",
        "QUJDREVGR0hJSktM",
        "WFla",
        "-----END KEY-----",
    ]
    found = known("\n".join(lines))
    text = "".join(f"{before}{line}\n" for line in lines).encode()
    gone = [line if line not in lines[1:3] else "[redacted:n0]" for line in lines]
    assert found.replaced(text) == "".join(f"{before}{line}\n" for line in gone).encode()
    # As a key without its labels is written into one line.
    assert (
        found.replaced("".join([before, *lines[1:-1]]).encode())
        == f"{before}[redacted:n0]".encode()
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_secret_with_an_empty_line_is_replaced_wherever_the_stream_is_cut(end: bytes) -> None:
    text = b"before " + APART.encode().replace(b"\n", end) + b" after"
    for cut in range(len(text)):
        assert in_pieces(known(APART), text, [cut]) == b"before [redacted:n0] after"


@pytest.mark.parametrize("before", ["", "?", "??"])
@pytest.mark.parametrize("escaped", [quote, lambda text, safe: _lower(quote(text, safe=safe))])
def test_base64_in_a_url_is_found_though_its_marks_are_escaped(
    before: str, escaped: Callable[..., str]
) -> None:
    secret = "~~~>>>???secret~~~>>>???"
    text = base64.b64encode(f"{before}{secret}".encode())
    assert b"/" in text and b"+" in text
    shown = in_pieces(known(secret), f"x={escaped(text, safe='')}".encode(), [9])
    assert b"[redacted:n0]" in shown and len(shown) < 40


def _lower(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text)


@given(before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_base64_of_a_text_around_it_gives_no_more_than_its_edges(
    before: bytes, after: bytes
) -> None:
    text = base64.b64encode(before + SECRET.encode() + after)
    shown = in_pieces(known(SECRET), text, [])
    assert b"[redacted:n0]" in shown
    rest = shown.replace(b"[redacted:n0]", b"")
    assert len(rest) <= 4 * ((len(before) + 3) // 3 + (len(after) + 3) // 3 + 1)
    assert binascii.b2a_base64(SECRET.encode()[3:-3]).strip()[:20] not in shown


IN_OTHER_BYTES: dict[str, Callable[[str], bytes]] = {
    "base32": lambda s: base64.b32encode(s.encode()),
    "base64 twice": lambda s: base64.b64encode(base64.b64encode(s.encode())),
    "base64 of UTF-16": lambda s: base64.b64encode(s.encode("utf-16-le")),
}


@pytest.mark.parametrize("name", IN_OTHER_BYTES)
@given(before=st.text(max_size=9), after=st.text(max_size=9))
def test_a_code_of_a_text_around_it_gives_no_more_than_its_edges(
    name: str, before: str, after: str
) -> None:
    code = IN_OTHER_BYTES[name]
    shown = in_pieces(known(SECRET), code(before + SECRET + after), [])
    assert shown.count(b"[redacted:n0]") == 1
    rest = shown.replace(b"[redacted:n0]", b"")
    assert len(rest) <= len(code(before)) + len(code(after)) + 8


FOLDED = ["raw", "url", "hex", "HEX", "json", "json utf-8", "html", "every letter in html"]
FOLDED += ["base64", "base64 without padding", "base64 for URLs"]
EMPTY_LINE = re.compile(rb"\n\n|\r\r|\n\r")


@given(
    secret=st.text(min_size=8, max_size=30).map(lambda text: f"0{text}1"),
    name=st.sampled_from(FOLDED),
    width=st.integers(1, 80),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_what_is_folded_at_any_width_is_replaced_however_the_stream_is_cut(
    secret: str, name: str, width: int, end: bytes, cuts: list[int]
) -> None:
    spelled = folded(SPELLED[name](secret), width, end)
    text = b"{one}\nbefore:%b" % end + spelled + b"%b;after\n\n{two}\n" % end
    shown = b"{one}\nbefore:%b[redacted:n0]%b;after\n\n{two}\n" % (end, end)
    assert known(secret).replaced(text) == shown
    # A stream does not wait behind an empty line, but for a secret that has one.
    assume(not EMPTY_LINE.search(spelled) or EMPTY_LINE.search(secret.encode()))
    assert in_pieces(known(secret), text, cuts) == shown


def test_the_longest_spelling_is_replaced_with_one_byte_a_line_and_a_piece() -> None:
    found = known("sesame-open")
    text = folded(found.spelled[0], 1, b"\r\n")
    assert in_pieces(found, text, list(range(len(text)))) == b"[redacted:n0]"


def test_lines_that_have_ended_are_shown_to_their_end_and_what_follows_goes_on_waiting() -> None:
    scrubber = Scrubber(known("sesame-open"))
    for line in (b"said\n", b"said\r"):
        assert scrubber.feed(line + b"ses") == b""
        assert scrubber.whole_lines() == line
        assert scrubber.feed(b"ame-open!") + scrubber.end() == b"[redacted:n0]!"


@given(
    secrets=st.lists(
        st.text("ab/\n", min_size=4, max_size=9).filter(lambda s: len(s.replace("\n", "")) > 3),
        min_size=1,
        max_size=4,
    ),
    text=st.text("ab/x\n", max_size=60).map(lambda text: re.sub("\n+", "\n", text)),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_how_the_stream_is_cut_changes_nothing(
    secrets: list[str], text: str, cuts: list[int]
) -> None:
    found = known(*secrets)
    whole = in_pieces(found, text.encode(), [])
    assert in_pieces(found, text.encode(), cuts) == whole
    assert whole == found.replaced(text.encode()) == replaced_by_re(secrets, text.encode())
    left = [in_one_line(piece) for piece in whole.split(b"[")]
    assert not any(in_one_line(secret.encode()) in piece for secret in secrets for piece in left)


@given(text=st.binary(max_size=80), cuts=st.lists(st.integers(0, 80), max_size=5))
def test_what_holds_no_secret_is_passed_on_byte_for_byte(text: bytes, cuts: list[int]) -> None:
    assert in_pieces(known("a secret of some length"), text, cuts) == text


PEM = "-----BEGIN KEY-----\nMIIEvAIBADANBgkqhkiG9w0BAQ\n-----END KEY-----\n"
APART = "a line\n\nand one more"
EVENTS = {b"data: 1\n\n", b"data: 1\r\n\r\n", b"data: 1\r\r", b"data: 1\r\n\r"}
OBJECTS = {b'{"a": 1}\n', b'{"a": 1}\r\n'}


@pytest.mark.parametrize("secret", ["sk-live-Zq81xBmT40", PEM, APART])
def test_how_much_of_an_echo_waits_tells_nothing_of_how_near_a_guess_is(secret: str) -> None:
    """Or it would be found letter by letter, in whichever spelling."""
    found, bare = known(secret), secret.strip()
    for spelling in (bare, bare.encode().hex(), quote(bare, safe=""), json.dumps(bare)[1:-1]):
        near = spelling.encode()[:-1]
        far = bytes(c if c in b"\r\n" else c ^ 1 for c in near)
        for size in range(1, len(near) + 1):
            for before in (b"", b"^", b"x" * found.longest):
                shown = [
                    len(Scrubber(found).feed(before + guess)) for guess in (near[:size], far[:size])
                ]
                assert shown[0] == shown[1], (before, near[:size])
    assert Scrubber(found).feed(b"x" * found.longest) == b"x"


@pytest.mark.parametrize(
    ("secret", "at_once"),
    [
        ("sesame-open", {*EVENTS, *OBJECTS}),
        (PEM, {*EVENTS, *OBJECTS}),
        (APART, OBJECTS),
        ('{"key": "sesame-open"}', EVENTS),
        (f"{{{APART}}}", set()),
    ],
)
def test_what_ends_as_no_secret_goes_on_does_not_wait(secret: str, at_once: set[bytes]) -> None:
    """Events and objects, a line each, but for those that the secret itself may hold; and no
    others, or half a secret would be out before the line that it goes on in."""
    ended = {*EVENTS, *OBJECTS, b"data: ses\n", b"data: ses\r", b"data: ses\r\n"}
    scrubber = Scrubber(known(secret))
    for text in ended:
        before = scrubber.end()
        assert before in (b"", *ended)
        assert scrubber.feed(text) == (text if text in at_once else b"")
    assert not scrubber.seen


def test_ends_of_lines_without_anything_before_them_do_not_wait() -> None:
    scrubber = Scrubber(known(APART))
    assert scrubber.feed(b"\n" * 9) == b"\n" * 9
    held = 10_000 - len(scrubber.feed(b"x" + b"\n" * 9_999))
    assert held == 0 or held <= 3 * scrubber.patterns.longest


def test_a_longer_secret_that_begins_like_a_shorter_one_is_replaced_whole() -> None:
    found = known("secret", "secret-and-more")
    for cut in range(20):
        assert in_pieces(found, b"x secret-and-more", [cut]) == b"x [redacted:n1]"
        assert in_pieces(found, b"x secret-and-less", [cut]) == b"x [redacted:n0]-and-less"


def test_headers_lose_a_secret_in_their_value_and_go_where_it_is_in_their_name() -> None:
    headers = [(b"X-Echo", b"Bearer sesame-open!"), (b"X-sesame-open", b"1"), (b"A", b"b")]
    assert scrubbed_headers(headers, known("sesame-open")) == [
        (b"X-Echo", b"Bearer [redacted:n0]!"),
        (b"A", b"b"),
    ]


@pytest.mark.parametrize("name", ["raw", "base64", "hex", "json"])
def test_a_secret_is_found_without_the_blanks_around_it(name: str) -> None:
    text = SPELLED[name]("sesame-open")
    assert known(" sesame-open\t\n").replaced(text) == b"[redacted:n0]"


def test_what_is_too_short_to_be_a_secret_is_left() -> None:
    assert patterns((("short", "x" * (SHORTEST - 1)),)) is None
    assert known("x" * SHORTEST).replaced(b"<" + b"x" * SHORTEST + b">") == b"<[redacted:n0]>"
    assert "sesame" not in repr(known("sesame-open"))
