"""The signing key of the audit chain, derived from a master key, which no editor of the stream
has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.crypto.envelope import MasterKeys, master_key_id
from gateway.domain.audit.record import Seal

_INFO = b"agent-credential-gateway audit chain"
# The signer's id without a master key. Such a hash finds mistakes, not forgeries; `verify` says so.
UNSIGNED = ""


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """Signing keys by the id of their master key. `current`: the id of the one that signs."""

    current: str
    by_id: Mapping[str, bytes] = field(repr=False)

    @property
    def signing(self) -> bytes:
        return self.by_id[self.current]


def audit_keys(masters: MasterKeys) -> AuditKeys:
    found = {master_key_id(key): _derived(key) for key in masters.keys}
    current = next(iter(found), UNSIGNED)
    return AuditKeys(current, MappingProxyType({**found, UNSIGNED: b"unsigned"}))


def sealed_with(key: bytes) -> Seal:
    """Return the function that hashes the records of a chain. The key is prepared once, which takes
    as long as a record; the standard library's HMAC took twice as long for each record."""
    prepared = HMAC(key, SHA256())

    def seal(text: bytes) -> str:
        one = prepared.copy()
        one.update(text)
        return one.finalize().hex()

    return seal


def _derived(master: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(master)
