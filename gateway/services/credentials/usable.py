"""Checks whether a credential can be used at all, while its author is there to correct it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.domain.credentials import check_fields
from gateway.domain.policies.addresses import is_guarded, is_loopback
from gateway.protocol.http.header_names import is_between


def check_usable(type_name: str, fields: Mapping[str, str]) -> None:
    """Raise ValueError, without any value, if the fields do not fit the type, or if no call could
    be made with them."""
    check_fields(type_name, fields)
    if type_name == "oauth2" and not is_token_url(fields["token_url"]):
        raise ValueError(
            "the field 'token_url' is no https URL that may be called (http: on this machine only)"
        )
    between = [name for name in fields if is_between(name)] if type_name == "headers" else []
    if between:
        raise ValueError(f"the header {between[0]!r} is the gateway's to set, and no credential's")


def is_token_url(url: str) -> bool:
    """Whether a secret may be sent to this URL: over TLS, or to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return safe and bool(host) and not is_guarded(host)
