"""Which values of a call's credentials must not come back in its answer."""

from base64 import b64encode
from collections.abc import Mapping

from gateway.domain.credentials import TYPES, Credential, CredentialId, Version
from gateway.domain.policies.references import Reference
from gateway.domain.policies.tools import SHORTEST_INJECTED
from gateway.protocol.secrets import Secret, parts
from gateway.services.credentials.current import LiveCredentials

# Fields that accompany a credential that signs or is sent whole, and prove nothing. Short ones are
# names and numbers that occur in many texts, so they are not looked for.
IDENTIFIERS = frozenset({"account_id", "username"})
SHORTEST_IDENTIFIER = 16

Found = Mapping[Reference, tuple[Credential, Version]]


def versions(known: Mapping[Reference, Credential], now: float) -> tuple[Found, Found]:
    """Return the newest values, and the previous ones in their grace period, without tokens."""
    newest = {reference: (one, one.current) for reference, one in known.items()}
    older = {
        reference: (one, previous)
        for reference, one in known.items()
        if (previous := one.previous_at(now)) is not None and not is_token(reference, one)
    }
    return newest, older


def secrets_to_hide(newest: Found, older: Found) -> tuple[Secret, ...]:
    """Return every value that is injected or signs."""
    found: dict[str, str] = {}
    for values in (newest, older):
        for reference, (credential, version) in values.items():
            used = _used(reference.field or credential.main, credential, version)
            for part, value in used.items():
                for one in (value, *parts(part, value)):
                    found.setdefault(one, credential.id.name)
            if credential.type == "basic" and not reference.field:
                pair = f"{version.fields['username']}:{version.fields['password']}"
                # The request holds the base64 form, which is looked for in as many spellings as any
                # other value.
                for one in (pair, b64encode(pair.encode()).decode()):
                    found.setdefault(one, credential.id.name)
    return tuple((name, value) for value, name in found.items())


class ChangedSecrets:
    """Returns the secrets of the credentials `ids`, whenever any credential in memory has changed
    since `generation`."""

    def __init__(
        self, credentials: LiveCredentials, ids: Mapping[Reference, CredentialId], generation: int
    ) -> None:
        self._credentials = credentials
        self._ids = ids
        self._generation = generation

    def __call__(self) -> tuple[Secret, ...] | None:
        """Return the current secrets; None if nothing has changed."""
        if self._generation == self._credentials.generation:
            return None
        self._generation = self._credentials.generation
        known = self._credentials.known
        there = {reference: known[name] for reference, name in self._ids.items() if name in known}
        kept = {r: credential for r, credential in there.items() if not is_token(r, credential)}
        return secrets_to_hide(*versions(kept, self._credentials.now()))


def is_token(reference: Reference, credential: Credential) -> bool:
    """Whether the reference means a fetched token."""
    return TYPES[credential.type].fetched and not reference.field


def is_too_short(credential: Credential) -> bool:
    """Whether an injected value is too short to be removed from what tools answer. Of a fetched
    credential only its token is injected."""
    used = _used(credential.main, credential, credential.current)
    short = any(len(value) < SHORTEST_INJECTED for value in used.values())
    return short and not TYPES[credential.type].fetched


def _used(name: str, credential: Credential, version: Version) -> Mapping[str, str]:
    # A credential without a main value signs, or is sent whole.
    value = version.fields.get(name)
    return _whole(credential, version) if value is None else {name: value}


def _whole(credential: Credential, version: Version) -> Mapping[str, str]:
    identifiers = IDENTIFIERS.intersection(TYPES[credential.type].public)
    return {
        part: value
        for part, value in version.fields.items()
        if part not in identifiers or len(value) >= SHORTEST_IDENTIFIER
    }
