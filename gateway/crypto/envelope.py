"""Envelope encryption of credentials at rest: AES-256-GCM under one data key per version, which is
wrapped by the master key.

Each ciphertext is bound to its owner, name, version and field as associated data, so that it does
not open if it was moved, swapped or taken from an older version. A seal over the whole record
covers the rest: type, expiry, staleness, and the grace period of the previous version.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.domain.credentials import TYPES, Credential, CredentialId, Version, check_fields
from gateway.domain.errors import OperationError

FORMAT = 1
_NONCE = 12
_DATA_KEY = 32
_MARK = "agent-credential-gateway"
# The fields of a credential that the record holds under the same names, beside type and versions.
_SETTINGS = ("created_at", "created_by", "rotated_at", "expires_at", "max_stale")


class BrokenCredentialError(OperationError):
    """A record that is not what the gateway wrote; the sentence names it and the problem."""

    def __init__(self, credential: CredentialId, what: str) -> None:
        super().__init__(f"Credential '{credential}' is refused: {what}.")


class UnknownMasterKeyError(BrokenCredentialError):
    """The record was encrypted with a master key that is not among those given."""

    def __init__(self, credential: CredentialId, master: str) -> None:
        super().__init__(
            credential, f"it was encrypted with the master key {master}, which is not given here"
        )
        self.master = master


def master_key_id(key: bytes) -> str:
    """Return the first 8 hex digits of a SHA-256 over the key and a fixed prefix."""
    return sha256(f"{_MARK} master key\n".encode() + key).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """32 bytes each; the first is the current one, which wraps new data keys."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    _by_id: Mapping[str, AESGCM] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {master_key_id(key): AESGCM(key) for key in self.keys})

    @property
    def current(self) -> tuple[str, AESGCM]:
        """The id and the cipher of the current key. There must be one."""
        return next(iter(self._by_id.items()))

    @property
    def ids(self) -> tuple[str, ...]:
        """The keys' public ids, the current one first."""
        return tuple(self._by_id)

    def find(self, key_id: str) -> AESGCM | None:
        return self._by_id.get(key_id)

    def mismatch(self, needed: Iterable[str]) -> str:
        """Return the sentence about a vault that was encrypted with the keys of these ids."""
        return (
            "None of the given master keys opens the vault: its credentials were encrypted with "
            f"{', '.join(sorted(needed))}, given {', '.join(self.ids) or 'none'}. Set "
            "GATEWAY_MASTER_KEY_FILE to the right one."
        )


class Envelope:
    """Encrypts and decrypts whole credentials. `draw`: returns random bytes."""

    def __init__(self, keys: MasterKeys, draw: Callable[[int], bytes] = token_bytes) -> None:
        self.keys = keys
        self._draw = draw

    def seal(self, credential: Credential) -> bytes:
        """Return the record of `credential` under new data keys; OperationError without a key."""
        if not self.keys.ids:
            raise OperationError("There is no master key: set GATEWAY_MASTER_KEY_FILE.")
        data_key = self._draw(_DATA_KEY)
        versions = [self._seal_version(credential.id, credential.current, data_key)]
        if credential.previous is not None:
            own = self._draw(_DATA_KEY)
            versions.append(self._seal_version(credential.id, credential.previous, own))
        record: dict[str, Any] = {
            "format": FORMAT,
            "type": credential.type,
            **{name: getattr(credential, name) for name in _SETTINGS},
            "versions": versions,
        }
        record["seal"] = self._encrypt(AESGCM(data_key), b"", _whole(credential.id, record))
        return _json(record)

    def open(self, credential: CredentialId, blob: bytes) -> Credential:
        """Return the credential in `blob`, stored under this id; BrokenCredentialError if
        altered. Empty: the record is lost."""
        if not blob:
            raise BrokenCredentialError(
                credential,
                "its record in Redis is gone or of another type, and no command did that: set it "
                "anew, or delete it",
            )
        try:
            record = _read(blob)
        except (ValueError, RecursionError):
            raise BrokenCredentialError(credential, "its record cannot be read") from None
        opened = [self._open_version(credential, version) for version in record["versions"]]
        current, data_key = opened[0]
        previous = opened[1][0] if len(opened) == 2 else None
        try:
            sealed = {name: value for name, value in record.items() if name != "seal"}
            _decrypt(AESGCM(data_key), record.get("seal"), _whole(credential, sealed))
        except (InvalidTag, ValueError):
            raise BrokenCredentialError(
                credential, "its settings (type, times, grace) are not what the gateway wrote"
            ) from None
        try:
            check_fields(record["type"], current.fields)
        except ValueError as problem:
            raise BrokenCredentialError(credential, str(problem)) from None
        settings = {name: record[name] for name in _SETTINGS}
        return Credential(credential, record["type"], current, previous, **settings)

    def _seal_version(self, owner: CredentialId, version: Version, key: bytes) -> dict[str, Any]:
        cipher = AESGCM(key)
        master, wrapping = self.keys.current
        number = version.number
        return {
            "version": number,
            "until": version.until,
            "master": master,
            "key": self._encrypt(wrapping, key, _bound(owner, number, "")),
            "fields": {
                name: self._encrypt(cipher, value.encode(), _bound(owner, number, name))
                for name, value in version.fields.items()
            },
        }

    def _open_version(
        self, credential: CredentialId, version: dict[str, Any]
    ) -> tuple[Version, bytes]:
        """Return the version, and the data key of its values."""
        number = version["version"]
        wrapping = self.keys.find(version["master"])
        if wrapping is None:
            raise UnknownMasterKeyError(credential, version["master"])
        what = "the data key"
        try:
            key = _decrypt(wrapping, version.get("key"), _bound(credential, number, ""))
            cipher = AESGCM(key)
            fields: dict[str, str] = {}
            for name, text in version["fields"].items():
                what = f"the field {name!r}"
                fields[name] = _decrypt(cipher, text, _bound(credential, number, name)).decode()
        except (InvalidTag, ValueError):
            raise BrokenCredentialError(
                credential, f"{what} of version {number} is not what the gateway wrote there"
            ) from None
        return Version(number, fields, version["until"]), key

    def _encrypt(self, cipher: AESGCM, value: bytes, bound_to: bytes) -> str:
        nonce = self._draw(_NONCE)
        return b64encode(nonce + cipher.encrypt(nonce, value, bound_to)).decode("ascii")


def latest_version(blob: bytes) -> int:
    """Return the version number that a record claims, unverified; 0 if it cannot be read."""
    return next((version["version"] for version in _claimed(blob)), 0)


def master_ids(blob: bytes) -> frozenset[str]:
    """Return the master keys that a record claims to need, unverified."""
    return frozenset(version["master"] for version in _claimed(blob))


def _claimed(blob: bytes) -> list[dict[str, Any]]:
    """Return the versions that a record claims to hold, current first; none if it is unreadable."""
    try:
        versions: list[dict[str, Any]] = _read(blob)["versions"]
    except (ValueError, RecursionError):
        return []
    return versions


def _read(blob: bytes) -> dict[str, Any]:
    """Return a record as data; ValueError unless every field is there and of its type."""
    record = json.loads(blob)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError("another format")
    _need(record, str, "type", "created_by")
    _need(record, int, "created_at")
    _need(record, int | None, "rotated_at", "expires_at", "max_stale")
    versions = record.get("versions")
    if record["type"] not in TYPES or not isinstance(versions, list):
        raise ValueError("another type")
    if not 1 <= len(versions) <= 2:
        raise ValueError("one version, or one and the previous one")
    for version in versions:
        if not isinstance(version, dict):
            raise ValueError("no version")
        _need(version, int, "version")
        _need(version, int | None, "until")
        _need(version, str, "master")
        _need(version, dict, "fields")
    return record


def _need(found: dict[str, Any], kind: Any, *names: str) -> None:
    for name in names:
        value = found.get(name, ...)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(name)


def _bound(credential: CredentialId, version: int, field_name: str) -> bytes:
    """Return the associated data of one value, or of a data key if `field_name` is empty."""
    return _json([_MARK, FORMAT, credential.owner, credential.name, version, field_name])


def _whole(credential: CredentialId, record: Mapping[str, Any]) -> bytes:
    return _json([_MARK, FORMAT, credential.owner, credential.name, record])


def _json(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _decrypt(cipher: AESGCM, text: object, bound_to: bytes) -> bytes:
    if not isinstance(text, str):
        raise ValueError("no text")
    sealed = b64decode(text.encode(), validate=True)
    return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
