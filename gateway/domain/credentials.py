"""Outbound credentials: secrets that agents need for other services, their types and versions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.domain.keys.record import is_user_id
from gateway.domain.units import DAY

LONGEST_VALUE = 65_536
MOST_FIELDS = 64
# How long before a credential expires operators are warned.
WARN_SECONDS = 14 * DAY

_NAME = re.compile(r"[a-z][a-z0-9_]{1,62}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_USER_PREFIX = "user/"


@dataclass(frozen=True, slots=True, order=True)
class CredentialId:
    """`openai_key`, shared by all, or `user/<owner>/openai_key`, one user's own."""

    name: str
    owner: str = ""

    def __str__(self) -> str:
        return f"{_USER_PREFIX}{self.owner}/{self.name}" if self.owner else self.name


def is_credential_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def is_field_name(text: str) -> bool:
    return _FIELD.fullmatch(text) is not None


def parse_id(text: str) -> CredentialId:
    """Return the id that `text` spells; ValueError says what is expected."""
    owner, name = "", text
    if text.startswith(_USER_PREFIX):
        owner, _, name = text.removeprefix(_USER_PREFIX).partition("/")
        if not is_user_id(owner):
            raise ValueError("a user's credential is named user/<user id>/<name>")
    if not is_credential_name(name):
        raise ValueError(
            "a credential's name is 2 to 63 of the characters a-z 0-9 _ and begins with a letter"
        )
    return CredentialId(name, owner)


@dataclass(frozen=True, slots=True)
class CredentialType:
    """`required` and `optional` are field names; `free`: any other fields are allowed too. `main`:
    the field that a reference without a field means; empty: a reference must name one. `one_of`:
    alternative sets of fields that replace `required`.

    `public`: fields that identify the caller and prove nothing. `fetched`: the main value is a
    token that is fetched with the fields. `pull_only`: agents pull it; it is never injected into a
    call. `decoy`: bait for intruders; any use is refused and reported.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    main: str = ""
    free: bool = False
    one_of: tuple[tuple[str, ...], ...] = ()
    public: tuple[str, ...] = ()
    fetched: bool = False
    pull_only: bool = False
    decoy: bool = False

    @property
    def is_single(self) -> bool:
        """Whether one bare value is the whole credential."""
        return len(self.required) == 1 and not (self.optional or self.free)


_DATABASE = ("host", "port", "username", "password", "name")

TYPES: Mapping[str, CredentialType] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            CredentialType("api_key", ("value",), main="value"),
            CredentialType("bearer", ("value",), main="value"),
            CredentialType("basic", ("username", "password"), public=("username",)),
            CredentialType(
                "ak_sk",
                ("access_key_id", "access_key_secret"),
                ("security_token", "account_id"),
                public=("access_key_id", "account_id"),
            ),
            CredentialType("headers", (), free=True),
            CredentialType(
                "oauth2",
                ("token_url", "client_id", "client_secret"),
                ("scopes",),
                public=("token_url", "client_id", "scopes"),
                fetched=True,
            ),
            CredentialType(
                "database",
                (),
                main="url",
                one_of=(("url",), _DATABASE),
                public=("host", "port", "username", "name"),
                pull_only=True,
            ),
            CredentialType("custom", (), main="value", free=True),
            CredentialType("canary", ("value",), main="value", decoy=True),
        )
    }
)

# Types whose fields are sent in headers, where a line break would start another header.
_IN_HEADERS = frozenset({"api_key", "bearer", "ak_sk", "headers"})


def check_fields(type_name: str, fields: Mapping[str, str]) -> None:
    """Raise ValueError, without quoting any value, if these fields do not fit the type."""
    kind = TYPES[type_name]
    if not fields:
        raise ValueError(f"a credential of type {type_name} needs at least one field")
    if len(fields) > MOST_FIELDS:
        raise ValueError(f"a credential has at most {MOST_FIELDS} fields")
    _check_names(kind, fields)
    for name, value in fields.items():
        if not value:
            raise ValueError(f"the field {name!r} is empty")
        if len(value.encode(errors="surrogatepass")) > LONGEST_VALUE:
            raise ValueError(f"the field {name!r} is longer than {LONGEST_VALUE} bytes")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"the field {name!r} is not UTF-8 text")
        if type_name in _IN_HEADERS and not fits_header(value):
            raise ValueError(
                f"the field {name!r} cannot be sent in a header: it holds a line break, another "
                "control character or something beyond Latin-1; for other places, such as the "
                "environment of a tool, there is the type custom"
            )


def without_empty(type_name: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return `fields` without the optional ones that are empty: an empty text leaves one out."""
    optional = TYPES[type_name].optional
    return {name: value for name, value in fields.items() if value or name not in optional}


def renewed(type_name: str, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return the fields after a rotation: the new ones, and those of `old` that were not given. A
    whole set of fields replaces another set, such as `url` that of a database's host and port."""
    whole = any(new.keys() == set(one) for one in TYPES[type_name].one_of)
    return without_empty(type_name, new if whole else {**old, **new})


def _check_names(kind: CredentialType, fields: Mapping[str, str]) -> None:
    bad = next((name for name in fields if not is_field_name(name)), None)
    if bad is not None:
        raise ValueError("a field's name is 1 to 128 letters, digits and the characters . _ -")
    if kind.free:
        return
    sets = kind.one_of or (kind.required,)
    if not any(set(one) <= fields.keys() <= {*one, *kind.optional} for one in sets):
        spelled = " or ".join("{" + ", ".join(one) + "}" for one in sets)
        more = f" and may have {', '.join(kind.optional)}" if kind.optional else ""
        raise ValueError(f"a credential of type {kind.name} has the fields {spelled}{more}")


def fits_header(value: str) -> bool:
    """Whether `value` can stand in one header line: no control characters, Latin-1 only."""
    return all(c == "\t" or (" " <= c <= "\xff" and c != "\x7f") for c in value)


@dataclass(frozen=True, slots=True)
class Version:
    """One set of values. `until`: of the previous version, the Unix second its grace ends."""

    number: int
    fields: Mapping[str, str] = field(repr=False)
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """One decrypted credential. Times are Unix seconds, None if not set.

    `max_stale`: seconds for which it may be used without asking the vault again; None: no limit; 0:
    never. `revision`: the vault's revision when it was last written.
    """

    id: CredentialId
    type: str
    current: Version
    previous: Version | None = None
    expires_at: int | None = None
    max_stale: int | None = None
    created_at: int = 0
    created_by: str = ""
    rotated_at: int | None = None
    revision: int = field(default=0, compare=False)

    @property
    def main(self) -> str:
        """The field that a reference without a field means; empty if there is none."""
        return TYPES[self.type].main

    def previous_at(self, now: float) -> Version | None:
        """Return the previous version while its grace period lasts, else None."""
        previous = self.previous
        if previous is None or previous.until is None or now >= previous.until:
            return None
        return previous

    def is_older_than(self, known: "Credential") -> bool:
        """What was written later is not older, though its number may be lower: a credential that
        was lost and created anew counts from one, and a backup from where it was."""
        return self.current.number < known.current.number and self._written_at <= known._written_at

    @property
    def _written_at(self) -> int:
        return max(self.created_at, self.rotated_at or 0)
