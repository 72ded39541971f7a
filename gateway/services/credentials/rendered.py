"""What credentials become in a call: headers, pairs of name and text, and fields that sign."""

from base64 import b64encode
from collections.abc import Iterator, Mapping

from gateway.crypto.signing import OURS
from gateway.domain.credentials import TYPES, Credential, Version, fits_header
from gateway.domain.policies.references import Reference
from gateway.domain.policies.services import SENT_WHOLE, SIGNING_FIELDS, Inject, Templates
from gateway.protocol.http.header_names import is_reserved
from gateway.services.credentials.current import unavailable
from gateway.services.credentials.secrets_to_hide import Found

# Many servers trust a session cookie before a credential, and it may be another user's.
_COOKIE = frozenset({b"cookie"})
# Two parts of an echo could hold half a secret each.
_PARTS = frozenset({b"range", b"if-range"})
# A body that a field is put into was parsed uncompressed.
_CODING = frozenset({b"content-encoding"})


def removed_headers(inject: Inject) -> Iterator[frozenset[bytes]]:
    """Yield names of further headers of the caller that are removed."""
    if inject.references:
        yield _COOKIE
    if inject.puts_in:
        yield _PARTS
    if inject.body:
        yield _CODING
    if inject.sign is not None:
        yield OURS[inject.sign.scheme]


def signing_fields(credential: Credential, version: Version) -> Mapping[str, str]:
    """Return the fields that sign, which a credential with free fields may lack."""
    fields = version.fields
    if not fields.keys() >= set(SIGNING_FIELDS):
        raise unavailable(f"Credential '{credential.id}' has not what signs: it is no ak_sk.")
    for name in ("access_key_id", "security_token"):
        header(name, fields.get(name, ""))
    return fields


def whole_credential(credential: Credential, version: Version) -> list[tuple[str, str]]:
    """Return the headers that a credential is sent in as a whole, as its type says."""
    fields = version.fields
    if credential.type not in SENT_WHOLE:
        raise unavailable(f"Credential '{credential.id}' cannot be sent as a whole.")
    if credential.type == "headers":
        if any(is_reserved(name) for name in fields):
            raise unavailable(f"Credential '{credential.id}' has a header that is not its to set.")
        return list(fields.items())
    if credential.type == "basic":
        pair = f"{fields['username']}:{fields['password']}".encode()
        return [("Authorization", f"Basic {b64encode(pair).decode()}")]
    return [("Authorization", f"Bearer {fields[credential.main]}")]


def pairs(templates: Templates, found: Found) -> tuple[tuple[str, str], ...]:
    def value(reference: Reference) -> str:
        return _value(reference, *found[reference])

    return tuple((name, template.render(value)) for name, template in templates)


def _value(reference: Reference, credential: Credential, version: Version) -> str:
    if TYPES[credential.type].pull_only:
        # A user's own credential is not known before the user comes.
        raise unavailable(
            f"Credential '{credential.id}' is pulled by agents, and put into no call."
        )
    value = version.fields.get(reference.field or credential.main)
    if value is None:
        raise unavailable(
            f"Credential '{credential.id}' has no value for {reference}.", credential.id
        )
    return value


def header(name: str, text: str) -> bytes:
    """Encode a header value; one that would end the line is sent to nobody."""
    if not fits_header(text):
        raise unavailable(f"What is meant for the header {name!r} cannot be sent in one.")
    return text.strip(" \t").encode("latin-1")
