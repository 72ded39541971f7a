"""Read and replace fields of a multipart form (RFC 7578); other parts stay byte for byte.

A form that two readers could take differently is refused: a form that asks for one model to this
reader must not ask for another one to the provider.
"""

import re
from collections.abc import Iterable, Sequence

from gateway.domain.errors import bad_request
from gateway.protocol.http.request import Header, values_of

_KIND = re.compile(rb"multipart/form-data\s*;\s*boundary=(\"?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1")
# No blanks before the colon and no folded lines: readers take those differently.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")
_DISPOSITION = re.compile(rb"form-data[ \t]*;(.*)", re.IGNORECASE)
_NAME = re.compile(rb"(?:^|;)\s*name=\"([^\"\\\r\n]*)\"\s*(?=;|$)", re.IGNORECASE)
_ANY_NAME = re.compile(rb"(?:^|;)\s*name\*?\s*=", re.IGNORECASE)
_NO_FORM = "The body is no multipart form that can be read in one way only."
MOST_PARTS, LONGEST_HEAD = 1000, 8190
_TOO_MANY = f"A form has at most {MOST_PARTS} parts, with heads of {LONGEST_HEAD} bytes."

Part = tuple[bytes, bytes, bytes]


def boundary_of(headers: Iterable[Header]) -> bytes | None:
    """Return the boundary if these are the headers of a multipart form, else None."""
    kinds = values_of(headers, b"content-type")
    if len(kinds) != 1 or not kinds[0].lower().startswith(b"multipart/form-data"):
        return None
    match = _KIND.fullmatch(kinds[0].strip())
    if match is None:
        raise bad_request(_NO_FORM)
    return match[2]


def field(body: bytes, boundary: bytes, name: str) -> str | None:
    """Return the value of a field; None if it is not there."""
    # Some readers ignore the case of names.
    alike = [(part, value) for part, _, value in _parts(body, boundary) if _is_like(part, name)]
    found = [value for part, value in alike if part == name.encode()]
    if len(alike) > len(found) or len(found) > 1:
        raise bad_request(_NO_FORM)
    try:
        return found[0].decode() if found else None
    except UnicodeDecodeError:
        raise bad_request(_NO_FORM) from None


def _is_like(part: bytes, name: str) -> bool:
    found = part.decode("utf-8", "replace").casefold()
    # Some readers put the value of `a[]` into `a`.
    return name in (found, found.partition("[")[0])


def with_form_fields(body: bytes, boundary: bytes, fields: Sequence[tuple[str, str]]) -> bytes:
    """Return the form with these fields in place of those of the same names, ignoring case."""
    line = b"--" + boundary + b"\r\n"
    parts = _parts(body, boundary)
    names = [name.casefold() for name, _ in fields]
    kept = [
        line + head + value
        for part, head, value in parts
        if not any(_is_like(part, name) for name in names)
    ]
    form = b'Content-Disposition: form-data; name="%b"\r\n\r\n%b'
    ours = [line + form % (name.encode(), value.encode()) for name, value in fields]
    return b"".join(one + b"\r\n" for one in ours + kept) + b"--" + boundary + b"--\r\n"


def _parts(body: bytes, boundary: bytes) -> list[Part]:
    """Return (name, head with its empty line, value) of each part."""
    line = b"--" + boundary
    pieces = (b"\r\n" + body).split(b"\r\n" + line, MOST_PARTS + 2)
    if len(pieces) > MOST_PARTS + 2:
        raise bad_request(_TOO_MANY)
    if len(pieces) < 3 or pieces[0] or pieces[-1].strip(b"\r\n") != b"--":
        raise bad_request(_NO_FORM)
    found = []
    for piece in pieces[1:-1]:
        head, empty, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if len(head) > LONGEST_HEAD:
            raise bad_request(_TOO_MANY)
        if not piece.startswith(b"\r\n") or not empty or b"\n" in head.replace(b"\r\n", b""):
            raise bad_request(_NO_FORM)
        # A laxer reader could take such a line for a boundary, and what follows for another part.
        if line in value:
            raise bad_request(_NO_FORM)
        found.append((_name(head), head + empty, value))
    return found


def _name(head: bytes) -> bytes:
    lines = [_LINE.fullmatch(line) for line in head.split(b"\r\n")]
    # Of two, some readers take the first and some the last.
    told = [line[2] for line in lines if line and line[1].lower() == b"content-disposition"]
    disposition = _DISPOSITION.fullmatch(told[0]) if len(told) == 1 and all(lines) else None
    if disposition is None or len(_ANY_NAME.findall(disposition[1])) != 1:
        raise bad_request(_NO_FORM)
    name = _NAME.search(disposition[1])
    if name is None:
        raise bad_request(_NO_FORM)
    return name[1]
