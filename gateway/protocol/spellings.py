"""The spellings in which programs echo a secret; each of them is looked for."""

import base64
import html
import json
import re
import string
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import gcd
from urllib.parse import quote, quote_plus

# Characters that JSON writers escape for use in pages, and the case of the hex digits: Go and
# Rails, Gson, .NET.
_FOR_PAGES = (("<>&", "x"), ("<>&='", "x"), ("\"<>&'+`", "X"))

# Characters that URL encoders leave as they are: none; those of paths; JavaScript's
# encodeURIComponent and encodeURI; Go's in a path segment.
_LEFT_IN_URLS = ("", "/", "!'()*", ";,/?:@&=+$#!'()*", "$&+=:@")

# Characters that are not escaped by their numbers: none; those that OWASP leaves in pages.
_LEFT_AS_THEY_ARE = ("", string.ascii_letters + string.digits)

# Separators of bytes in hex: none, that of `od -An -tx1`, that of certificates, .NET's.
_BETWEEN_BYTES = ("", " ", ":", "-")

# Separators of numbers in lists: Python's, JSON's, and those of indented JSON, which is searched as
# one line: of a list, and of a list in an object, as the official SDK writes what a tool answers.
_BETWEEN_NUMBERS = (", ", ",", ",  ", ",    ")

# Shorter secrets occur in every text: replacing them would show where they are, and break answers.
SHORTEST = 4

# A shorter line of a secret may be anything. All keys of a kind have the same labels.
SHORTEST_LINE = 16
_PEM_LABEL = "-----"


def spellings(secret: str) -> Iterator[bytes]:
    """Yield the spellings of `secret`, without the blanks around it: headers lose those."""
    bare = secret.strip()
    secret = bare if len(bare) >= SHORTEST else secret
    if len(secret) < SHORTEST:
        return
    for raw in _carried(secret):
        yield from _of_bytes(raw)
    yield from (secret.encode("utf-16-le"), secret.encode("utf-16-be"))
    yield from _in_other_codes(secret)
    yield from _in_other_lines(secret)
    for text in (secret, *_misread(secret)):
        yield from _in_json(text)
    yield from _in_json_for_pages(secret)
    yield from _in_html(secret)
    yield from map(str.encode, _by_number(secret))


def _carried(secret: str) -> Iterator[bytes]:
    """Yield the bytes that are sent: in UTF-8 as in bodies, and in Latin-1 as in headers."""
    yield secret.encode()
    if not secret.isascii():
        with suppress(UnicodeEncodeError):
            yield secret.encode("latin-1")


def _misread(secret: str) -> Iterator[str]:
    """Yield the texts that a reader gets who takes the bytes of a header for UTF-8."""
    for raw in _carried(secret):
        if (text := raw.decode(errors="replace")) != secret:
            yield text


def _of_bytes(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield from map(str.encode, _byte_by_byte(raw))
    yield from _in_urls(raw)
    for coded in _in_base64(raw):
        # In a URL parameter, + and / of base64 are escaped once more.
        escaped = quote(coded, safe="")
        yield from (coded, escaped.encode(), _lower_escapes(escaped).encode())


def _in_json(secret: str) -> Iterator[bytes]:
    for ascii_only in (True, False):
        text = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield from (text.encode(), text.replace("/", "\\/").encode())
        # JSON within a string of JSON, as tools often answer.
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()


def _in_json_for_pages(secret: str) -> Iterator[bytes]:
    for escaped, digits in _FOR_PAGES:
        yield "".join(
            "".join(f"\\u{unit:04{digits}}" for unit in _units(c))
            if c in escaped or (digits == "X" and not c.isascii())
            else json.dumps(c, ensure_ascii=False)[1:-1]
            for c in secret
        ).encode()


def _units(text: str) -> Iterator[int]:
    """Yield UTF-16 units, as JSON escapes them: two for a character beyond 16 bits."""
    return (unit for (unit,) in struct.iter_unpack(">H", text.encode("utf-16-be")))


def _in_html(secret: str) -> Iterator[bytes]:
    whole = html.escape(secret)
    yield from (html.escape(secret, quote=False).encode(), whole.encode())
    # Most others; PHP; XML.
    for apostrophe in ("&#39;", "&#039;", "&apos;"):
        yield whole.replace("&#x27;", apostrophe).encode()
    by_number = whole.replace("&#x27;", "&#39;")
    # Jinja's and Go's; Handlebars' and Mustache's.
    quoted = by_number.replace("&quot;", "&#34;")
    yield from (quoted.encode(), quoted.replace("+", "&#43;").encode())
    yield whole.replace("`", "&#x60;").replace("=", "&#x3D;").encode()
    slashed = by_number.replace("/", "&#x2F;")
    yield slashed.replace("`", "&#x60;").replace("=", "&#x3D;").encode()


def _by_number(secret: str) -> Iterator[str]:
    """Yield the characters escaped by their numbers, as JSON, JavaScript and HTML allow."""
    for left in _LEFT_AS_THEY_ARE:
        for digits in "xX":
            text = _escaped(secret, left, f"\\u%04{digits}", _units)
            yield from (text, text.replace("\\", "\\\\"))
            yield _escaped(secret, left, f"\\x%02{digits}")
            yield _escaped(secret, left, f"&#x%{digits};")
        yield _escaped(secret, left, "&#%d;")


def _escaped(
    secret: str,
    left: str,
    form: str,
    numbers: Callable[[str], Iterable[int]] = lambda c: (ord(c),),
) -> str:
    """Return `secret` with the `numbers` of each character that is not in `left` written in
    `form`."""
    spelled = {ord(c): "".join(form % n for n in numbers(c)) for c in {*secret} - {*left}}
    return secret.translate(spelled)


def _byte_by_byte(raw: bytes) -> Iterator[str]:
    for digits in "xX":
        pairs = [f"{byte:02{digits}}" for byte in raw]
        yield from (between.join(pairs) for between in _BETWEEN_BYTES)
        yield "".join(f"\\x{pair}" for pair in pairs)
    yield from (between.join(map(str, raw)) for between in _BETWEEN_NUMBERS)


def _in_other_lines(secret: str) -> Iterator[bytes]:
    """Yield a secret of several lines without line ends, as a shell prints it unquoted, and line by
    line, as programs indent and quote it."""
    lines = secret.splitlines()
    if len(lines) > 1:
        yield "".join(lines).encode()
        yield " ".join(secret.split()).encode()
        bare = [line.strip() for line in lines if not line.startswith(_PEM_LABEL)]
        for text in ("".join(bare), *bare):
            if len(text) >= SHORTEST_LINE:
                yield text.encode()


def _in_urls(raw: bytes) -> Iterator[bytes]:
    texts = [quote(raw, safe=left) for left in _LEFT_IN_URLS]
    # The second one is Java's, and browsers' in forms.
    texts += (quote_plus(raw), quote_plus(raw, safe="*").replace("~", "%7E"))
    texts += (_escaped(raw.decode("latin-1"), left, "%%%02X") for left in _LEFT_AS_THEY_ARE)
    for text in texts:
        for spelled in (text, _lower_escapes(text)):
            yield spelled.encode()
            # In a URL within a URL.
            yield spelled.replace("%", "%25").encode()


def _lower_escapes(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 of the secret alone, with and without padding, and within other bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from (encode(raw), encode(raw).rstrip(b"="))
        yield from _within(raw, encode, bits=6)


def _in_other_codes(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield from _within(raw, base64.b32encode, bits=5)
    # As PowerShell takes an -EncodedCommand; and as clusters keep what registries are called with.
    for text in (secret.encode("utf-16-le"), *_within(raw, base64.b64encode, bits=6)):
        yield from _within(text, base64.b64encode, bits=6)


def _within(raw: bytes, encode: Callable[[bytes], bytes], *, bits: int) -> Iterator[bytes]:
    """Yield the characters, of so many `bits`, that are the same whatever bytes stand before and
    after `raw`: for base64 at each of three alignments, for base32 of five."""
    for before in range(bits // gcd(bits, 8)):
        text = encode(b"\0" * before + raw)
        yield text[-(-before * 8 // bits) : (before + len(raw)) * 8 // bits]
