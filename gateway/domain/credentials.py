"""Outbound credentials: what agents need of others, and what of it has to be kept fresh."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.domain.keys.record import is_user_id
from gateway.domain.units import DAY

LONGEST_VALUE = 65_536
MOST_FIELDS = 64
# Of an expiry that comes, people are told from so long before.
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
    """The id that `text` spells; ValueError says what is expected."""
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
    """`required` and `optional` fields; `free`: any others too. `main`: what a reference without
    a field stands for; empty: it has to name one. `one_of`: alternatives to `required`.

    `public`: fields that tell who calls, and prove nothing. `fetched`: the main value is no field,
    but a token that is fetched with the fields. `pull_only`: it is for agents that pull it, and is
    put into no call. `decoy`: it is there to be found by whoever looks where nobody should; its use
    is refused, and told.
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
        """Whether a bare value says it all."""
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

# Fields that are sent as a header: what would end the line ends the header.
_IN_HEADERS = frozenset({"api_key", "bearer", "ak_sk", "headers"})


def check_fields(type_name: str, fields: Mapping[str, str]) -> None:
    """ValueError, without any value, where these are not the fields of such a credential."""
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
                "control character or something beyond Latin-1"
            )


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
    """Whether it stays within its line, and is spelled in Latin-1."""
    return all(c == "\t" or (" " <= c <= "\xff" and c != "\x7f") for c in value)


@dataclass(frozen=True, slots=True)
class Version:
    """One set of values. `until`: where it is the previous one, the Unix second its grace ends."""

    number: int
    fields: Mapping[str, str] = field(repr=False)
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential, opened. Times in Unix seconds, None where there is none.

    `max_stale`: seconds for which it may be used unchecked; None: without end; 0: not at all.
    `revision`: the vault's, when it was last written.
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
        """The field that a reference without one means; empty: none."""
        return TYPES[self.type].main

    def previous_at(self, now: float) -> Version | None:
        """The version before this one, while its grace lasts."""
        previous = self.previous
        if previous is None or previous.until is None or now >= previous.until:
            return None
        return previous
