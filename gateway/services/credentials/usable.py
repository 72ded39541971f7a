"""Checks whether a credential can be used at all, while its author is there to correct it."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from gateway.domain.credentials import check_fields, without_empty
from gateway.domain.policies.addresses import is_guarded, is_loopback
from gateway.protocol.http.header_names import is_reserved


def check_usable(type_name: str, fields: Mapping[str, str]) -> None:
    """Raise ValueError, without any value, if the fields do not fit the type, or if no call could
    be made with them."""
    check_fields(type_name, without_empty(type_name, fields))
    blank = next((name for name, value in fields.items() if value and not value.strip()), None)
    if blank is not None:
        raise ValueError(f"the field {blank!r} holds nothing but blanks")
    if type_name == "oauth2" and not is_token_url(fields["token_url"]):
        raise ValueError(
            "the field 'token_url' is no https URL that may be called (http: on this machine only; "
            "never with a user or password in it)"
        )
    if type_name == "basic" and ":" in fields["username"]:
        # RFC 7617 section 2: the first colon ends the username.
        raise ValueError("the field 'username' holds a colon, which HTTP Basic cannot carry there")
    if type_name == "headers":
        _check_headers(fields)


def _check_headers(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if is_reserved(name):
            raise ValueError(f"the header {name!r} is the gateway's to set, and no credential's")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ValueError(f"the fields {other!r} and {name!r} are one header")


def is_token_url(url: str) -> bool:
    """Whether a secret may be sent to this URL: over TLS, or to this machine, and with no other
    secret in the URL itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return safe and bool(host) and "@" not in parts.netloc and not is_guarded(host)
