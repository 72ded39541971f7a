"""One-time links by which users enter credentials of their own, which no operator sees."""

from dataclasses import dataclass

from gateway.domain.credentials import TYPES, CredentialId, parse_id
from gateway.domain.errors import UsageError
from gateway.domain.keys.record import is_user_id

LINK_SECONDS = 900
MOST_WANTED = 20
DEFAULT_TYPE = "api_key"


@dataclass(frozen=True, slots=True)
class RequestedCredential:
    """A credential that a user is asked for: its name without the user, and its type."""

    name: str
    type: str = DEFAULT_TYPE

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the user fills in; optional ones come last."""
        kind = TYPES[self.type]
        return (*kind.required, *kind.optional) or ("value",)

    def may_be_empty(self, field: str) -> bool:
        return field in TYPES[self.type].optional


@dataclass(frozen=True, slots=True)
class Link:
    """`session`: the digest of the session of the browser that used it; empty: unused."""

    user: str
    wanted: tuple[RequestedCredential, ...]
    session: str = ""

    def id_of(self, wanted: RequestedCredential) -> CredentialId:
        return CredentialId(wanted.name, self.user)


def read_requested(text: str) -> tuple[RequestedCredential, ...]:
    """Parse `github,aliyun:ak_sk` into what to ask a user for; UsageError says what is wrong."""
    found: dict[str, RequestedCredential] = {}
    for item in text.replace(",", " ").split():
        name, _, type_name = item.partition(":")
        kind = TYPES.get(type_name or DEFAULT_TYPE)
        if kind is None or kind.decoy or not (kind.required or kind.main == "value"):
            # A form cannot ask for fields whose names the type leaves open.
            able = sorted(n for n, k in TYPES.items() if k.required and not k.decoy)
            raise UsageError(f"{item!r}: write NAME or NAME:TYPE with a type of {', '.join(able)}.")
        try:
            parsed = parse_id(name)
        except ValueError as problem:
            raise UsageError(f"{name!r}: {problem}.") from None
        if parsed.owner:
            raise UsageError(f"{name!r}: write the name alone; whose it is, the link says.")
        found[name] = RequestedCredential(name, kind.name)
    if not found or len(found) > MOST_WANTED:
        raise UsageError(f"Name 1 to {MOST_WANTED} credentials, such as github,aliyun:ak_sk.")
    return tuple(found.values())


def check_user(user: str) -> str:
    """Return `user`; UsageError if it cannot be a user id."""
    if not is_user_id(user):
        raise UsageError("A user id is 1 to 128 of the characters A-Z a-z 0-9 . _ @ and -.", "user")
    return user
