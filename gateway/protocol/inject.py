"""Inject values into a request, in place of what the caller sent under the same names."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from gateway.domain.errors import bad_request
from gateway.protocol import strict_json
from gateway.protocol.http.form import MOST_PARTS, boundary_of, with_form_fields
from gateway.protocol.http.request import (
    LOOKS_LIKE_ANOTHER,
    Header,
    media_type,
    values_of,
)
from gateway.protocol.http.target import parameter_names

Pairs = Sequence[tuple[str, str]]

_NO_JSON = (
    "This service takes a form, or a JSON object with each name once and no NaN, as its body, "
    "and neither compressed: the gateway adds a field to it."
)
_JSON = (b"application/json", b"text/json")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_NAME_OF = itemgetter(0)
_URLENCODED = b"application/x-www-form-urlencoded"
_TOO_MANY = f"A form has at most {MOST_PARTS} fields."


def with_headers(
    headers: Iterable[Header], injected: Sequence[Header], names: frozenset[bytes] | None = None
) -> list[Header]:
    """Return `headers` with `injected` in place of those of the same names, and of those that CGI
    takes for them. `names`: `names_of(injected)`, if known already.
    """
    replaced = names_of(injected) if names is None else names
    return [header for header in headers if _plain(header[0]) not in replaced] + [*injected]


def names_of(headers: Iterable[Header]) -> frozenset[bytes]:
    """Return the names in lower case, and in the form in which look-alikes are compared."""
    return frozenset(one for name, _ in headers for one in (_plain(name), name.lower()))


def check_look_alikes(headers: Sequence[Header], names: frozenset[bytes]) -> None:
    """Raise Denied(bad_request) if another reader could take a header for one of `names`."""
    if names.isdisjoint(map(_other_name, map(_NAME_OF, headers))):
        return
    if any(_plain(name) in names and name.lower() not in names for name, _ in headers):
        raise bad_request(LOOKS_LIKE_ANOTHER)


@lru_cache(maxsize=1024)
def _plain(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-").replace(b".", b"-")


@lru_cache(maxsize=1024)
def _other_name(name: bytes) -> bytes:
    """Return the name that another reader may take this one for; empty if there is none."""
    plain = _plain(name)
    return plain if plain != name.lower() else b""


def check_parameters(query: bytes, injected: Pairs) -> None:
    """Raise Denied(bad_request) if a parameter with an injected name follows a `;` in the value of
    another: some readers separate parameters there too."""
    names = {name.casefold() for name, _ in injected}
    for item in query[1:].split(b"&") if injected and b";" in query else ():
        first, *others = item.split(b";")
        if names.isdisjoint(parameter_names(first)) and any(
            not names.isdisjoint(parameter_names(other)) for other in others
        ):
            raise bad_request("A ';' stands where readers take it differently: write it as %3B.")


def with_query(query: bytes, injected: Pairs) -> bytes:
    """Return the query with `injected` in place of all parameters of these names, in any spelling;
    the rest stays byte for byte."""
    if not injected:
        return query
    names = {name.casefold() for name, _ in injected}
    items = (item for item in query[1:].split(b"&") if item)
    kept = [i for i in items if names.isdisjoint(parameter_names(i.partition(b";")[0]))]
    ours = [f"{quote(name, safe='')}={quote(value, safe='')}".encode() for name, value in injected]
    return b"?" + b"&".join(kept + ours)


def makes_body(method: str, headers: Iterable[Header]) -> bool:
    """Return whether fields are the whole body of a request that has none, as of a form that is
    sent empty. Its type says how they are written; a compressed one is not written at all."""
    kind, encoded = media_type(headers), values_of(headers, b"content-encoding")
    return method in _WITH_BODY and not encoded and (kind == _URLENCODED or _is_json(kind))


def with_fields(body: bytes, headers: Iterable[Header], injected: Pairs) -> bytes:
    """Return `body`, a JSON object or a form, with these fields in it; raise Denied(bad_request) if
    it is neither."""
    headers = tuple(headers)
    boundary = boundary_of(headers)
    if boundary is not None:
        return with_form_fields(body, boundary, injected)
    kind = media_type(headers)
    if kind == _URLENCODED and not values_of(headers, b"content-encoding"):
        return _in_urlencoded(body, injected)
    if not _is_json(kind):
        raise bad_request(_NO_JSON)
    try:
        found: Any = strict_json.read(body or b"{}")
    except strict_json.TooManyValuesError as problem:
        raise bad_request(str(problem)) from None
    except ValueError:
        raise bad_request(_NO_JSON) from None
    if not isinstance(found, dict):
        raise bad_request(_NO_JSON)
    # Some readers ignore the case of names.
    names = {name.casefold() for name, _ in injected}
    kept = {name: value for name, value in found.items() if name.casefold() not in names}
    return strict_json.encode(kept | dict(injected))


def _is_json(kind: bytes) -> bool:
    return kind in _JSON or kind.endswith(b"+json")


def _in_urlencoded(body: bytes, injected: Pairs) -> bytes:
    """Return the form with `injected` in it; it is written as a query is."""
    if body.count(b"&") >= MOST_PARTS:
        raise bad_request(_TOO_MANY)
    check_parameters(b"?" + body, injected)
    return with_query(b"?" + body, injected)[1:]
