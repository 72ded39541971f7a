"""The request target: the spelling that is decided on is forwarded byte for byte.

Readers of URLs differ (a bare aiohttp request has five spellings of one path), so a spelling that
two of them could take differently is refused, never normalised. RFC 9110 section 4.2.3, RFC 3986
section 6.2.2: percent-encoding, case and dot segments are equivalences that not every reader
applies.
"""

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote_plus, unquote_to_bytes

from gateway.domain.errors import bad_request
from gateway.domain.facts import fact
from gateway.domain.keys.key import contains_key
from gateway.domain.policies.routes import RoutePath, fold

_VISIBLE = bytes(range(0x21, 0x7F))
# A path of these bytes alone needs no closer look: no escapes, and no separators that readers
# dispute.
_PLAIN = bytes(sorted(set(_VISIBLE) - set(b"%;\\#")))
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_DOTS = (b".", b"..")
_END_OF_PATH = re.compile(rb"[?#]")
_END_OF_SEGMENT = re.compile(rb"[;?#]")
# Characters that compatibility mapping (NFKC) turns into one of these are refused.
_DISPUTED = set("./\\;?#%")


@fact
class Target:
    """An origin-form target. `query` begins with `?` or is empty.

    `oddities`: members of `domain.policies.PATH_ODDITIES` in the path; only an agent that allows
    all of them may receive it.
    """

    path: bytes
    query: bytes = b""
    oddities: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def parse_target(raw: bytes) -> Target:
    """Return the target of a request line; raise Denied(bad_request) if its form or spelling is
    refused."""
    # Cached, since callers ask for few targets, and often; the cache takes some megabytes at most.
    if raw[:1] != b"/":
        # RFC 9112 section 3.2: absolute, authority and asterisk form name another authority.
        raise bad_request("The request target must be a path that begins with '/'.")
    path, mark, query = raw.partition(b"?")
    if query:
        _check_query(query)
    if not path.translate(None, _PLAIN) and b"//" not in path and b"/." not in path:
        return Target(path, mark + query)
    return Target(path, mark + query, _examine(path))


def route_path(rest: bytes) -> RoutePath:
    """Return `rest`, the path behind the agent's name, as routes compare it."""
    if b"%" not in rest:
        return RoutePath(rest, fold(rest))
    segments = rest.split(b"/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    return RoutePath(rest, tuple(unquote_to_bytes(s).lower() for s in segments))


def lax_path(rest: bytes) -> RoutePath:
    """Return the path as the laxest reader takes it: percent-decoded, backslashes as slashes,
    without parameters and empty segments, cut at a decoded `?` or `#`."""
    decoded = _END_OF_PATH.split(unquote_to_bytes(rest), maxsplit=1)[0].replace(b"\\", b"/")
    segments = (segment.partition(b";")[0] for segment in decoded.split(b"/"))
    plain = b"/" + b"/".join(filter(None, segments))
    return RoutePath(plain, fold(plain))


def parameter_names(parameter: bytes) -> frozenset[str]:
    """Return the name of a query's parameter as every reader takes it, in lower case: to some,
    `a[]` and `a[b]` go into `a`."""
    name = unquote_plus(parameter.partition(b"=")[0].decode("latin-1")).casefold()
    return frozenset((name, name.partition("[")[0]))


def _check_query(query: bytes) -> None:
    if query.translate(None, _VISIBLE) or b"#" in query:
        raise bad_request("The query holds a byte that must be percent-encoded.")
    if (b"agk_" in query or b"%" in query) and contains_key(
        unquote_to_bytes(query).decode("latin-1")
    ):
        raise bad_request(
            "A key must not be in the URL: it would end up in logs and histories. Send it as "
            "'Authorization: Bearer <key>'."
        )


def _examine(path: bytes) -> frozenset[str]:
    if path.translate(None, _VISIBLE) or b"#" in path:
        raise bad_request("The path holds a byte that must be percent-encoded.")
    oddities = {name for name in ("//", ";", "\\") if name.encode() in path}
    oddities |= _escapes(path)
    decoded = unquote_to_bytes(path)
    if _ESCAPE.search(decoded):
        raise bad_request("The path is percent-encoded twice. Encode it once.")
    _check_dots(decoded)
    _check_text(decoded)
    return frozenset(oddities)


def _escapes(path: bytes) -> set[str]:
    """Return the disputed escapes in `path`; raise Denied for broken ones and control bytes."""
    if _BROKEN_ESCAPE.search(path):
        raise bad_request("The path holds a broken percent-escape. Write '%' as %25.")
    values = {int(part[:2], 16) for part in path.split(b"%")[1:]}
    if any(value < 0x20 or value == 0x7F for value in values):
        raise bad_request("The path holds an encoded control character. Leave it out.")
    return {f"%{value:02X}" for value in values if value in b"/\\;?#"}


def _check_dots(decoded: bytes) -> None:
    for segment in decoded.replace(b"\\", b"/").split(b"/"):
        # Some readers cut parameters (`..;x`), a decoded query and blanks before they resolve dots.
        if _END_OF_SEGMENT.split(segment, maxsplit=1)[0].strip(b" ") in _DOTS:
            raise bad_request("The path holds a dot segment ('.' or '..'). Resolve it.")


def _check_text(decoded: bytes) -> None:
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        raise bad_request("The path is not UTF-8 once it is decoded. Encode it as UTF-8.") from None
    if text.isascii():
        return
    for character in text:
        if character < "\x80":
            continue
        mapped = unicodedata.normalize("NFKC", character)
        if unicodedata.category(character) == "Cc" or _DISPUTED & set(mapped):
            raise bad_request(
                "The path holds a character that readers take for another one. Leave it out."
            )
