"""Which values of the credentials of a call must not come back out of it."""

from base64 import b64encode
from collections.abc import Mapping

from gateway.domain.credentials import TYPES, Credential, CredentialId, Version
from gateway.domain.policies.references import Reference
from gateway.domain.policies.tools import SHORTEST_INJECTED
from gateway.protocol.secrets import Secret, parts
from gateway.services.credentials.current import LiveCredentials

# What comes along with a credential that is sent whole, or signs, and proves nothing: shorter ones
# are names and numbers that stand in many a text, where nothing is to be replaced.
COME_ALONG = frozenset({"account_id", "username"})
SHORTEST_ALONG = 16

Found = Mapping[Reference, tuple[Credential, Version]]


def looked_for(newest: Found, older: Found) -> tuple[Secret, ...]:
    """Every value that is put in, and every one that signs."""
    found: dict[str, str] = {}
    for values in (newest, older):
        for reference, (credential, version) in values.items():
            used = _used(reference.field or credential.main, credential, version)
            for part, value in used.items():
                for one in (value, *parts(part, value)):
                    found.setdefault(one, credential.id.name)
            if credential.type == "basic" and not reference.field:
                pair = f"{version.fields['username']}:{version.fields['password']}"
                # What is sent is its base64, and is spelled in as many ways as any other value.
                for one in (pair, b64encode(pair.encode()).decode()):
                    found.setdefault(one, credential.id.name)
    return tuple((name, value) for value, name in found.items())


class Changes:
    """What is looked for of the credentials `ids`, each time that any in memory has changed since
    the `generation` of them that was put in."""

    def __init__(
        self, credentials: LiveCredentials, ids: Mapping[Reference, CredentialId], generation: int
    ) -> None:
        self._credentials = credentials
        self._ids = ids
        self._generation = generation

    def __call__(self) -> tuple[Secret, ...] | None:
        """None: nothing has."""
        if self._generation == self._credentials.generation:
            return None
        self._generation = self._credentials.generation
        now, known = self._credentials.now(), self._credentials.known
        newest: dict[Reference, tuple[Credential, Version]] = {}
        older: dict[Reference, tuple[Credential, Version]] = {}
        for reference, name in self._ids.items():
            credential = known.get(name)
            if credential is None or is_token(reference, credential):
                continue
            newest[reference] = (credential, credential.current)
            if previous := credential.previous_at(now):
                older[reference] = (credential, previous)
        return looked_for(newest, older)


def is_token(reference: Reference, credential: Credential) -> bool:
    """Whether what is meant is fetched, and not kept."""
    return TYPES[credential.type].fetched and not reference.field


def is_too_short(credential: Credential) -> bool:
    """Whether a value that it is put in with could not be kept out of what tools answer. Of one
    that is fetched nothing goes in but its token."""
    used = _used(credential.main, credential, credential.current)
    short = any(len(value) < SHORTEST_INJECTED for value in used.values())
    return short and not TYPES[credential.type].fetched


def _used(name: str, credential: Credential, version: Version) -> Mapping[str, str]:
    # A credential without a main value is there to sign, or is sent whole.
    value = version.fields.get(name)
    return _whole(credential, version) if value is None else {name: value}


def _whole(credential: Credential, version: Version) -> Mapping[str, str]:
    along = COME_ALONG.intersection(TYPES[credential.type].public)
    return {
        part: value
        for part, value in version.fields.items()
        if part not in along or len(value) >= SHORTEST_ALONG
    }
