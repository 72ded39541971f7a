"""Credentials at rest: AES-256-GCM under a data key per version, wrapped by the master key.

Every ciphertext is bound to what it is: owner, name, version and field are associated data, so
that one that was moved, swapped or taken from an older version does not open. A seal over the
whole record covers the rest: type, expiry, staleness, the grace of the previous version.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
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

WRONG_KEY = (
    "None of the given master keys opens the vault: its credentials were encrypted with {needed}, "
    "given {given}. Set GATEWAY_MASTER_KEY_FILE to the right one."
)


class BrokenCredentialError(OperationError):
    """A record that is not what the gateway wrote; the sentence names it and what is wrong."""

    def __init__(self, credential: CredentialId, what: str) -> None:
        super().__init__(f"Credential '{credential}' is refused: {what}.")


class UnknownMasterKeyError(BrokenCredentialError):
    """Written under a master key that is not among those given."""

    def __init__(self, credential: CredentialId, master: str) -> None:
        super().__init__(
            credential, f"it was encrypted with the master key {master}, which is not given here"
        )
        self.master = master


def master_key_id(key: bytes) -> str:
    """The first 8 hex digits of a SHA-256 over the key and a word of ours."""
    return sha256(f"{_MARK} master key\n".encode() + key).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """32 bytes each; the first is current, what is written is wrapped with it."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    _by_id: Mapping[str, AESGCM] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {master_key_id(key): AESGCM(key) for key in self.keys})

    @property
    def ids(self) -> tuple[str, ...]:
        """Their public ids, the current one first."""
        return tuple(self._by_id)

    def find(self, key_id: str) -> AESGCM | None:
        return self._by_id.get(key_id)


class Envelope:
    """Seals and opens whole credentials. `draw`: random bytes."""

    def __init__(self, keys: MasterKeys, draw: Callable[[int], bytes] = token_bytes) -> None:
        self._keys = keys
        self._draw = draw

    @property
    def keys(self) -> MasterKeys:
        return self._keys

    def seal(self, credential: Credential) -> bytes:
        """The record of `credential`, under new data keys; OperationError without a master key."""
        if not self._keys.ids:
            raise OperationError("There is no master key: set GATEWAY_MASTER_KEY_FILE.")
        data_key = self._draw(_DATA_KEY)
        versions = [self._seal_version(credential.id, credential.current, data_key)]
        if credential.previous is not None:
            own = self._draw(_DATA_KEY)
            versions.append(self._seal_version(credential.id, credential.previous, own))
        record: dict[str, Any] = {
            "format": FORMAT,
            "type": credential.type,
            "created_at": credential.created_at,
            "created_by": credential.created_by,
            "rotated_at": credential.rotated_at,
            "expires_at": credential.expires_at,
            "max_stale": credential.max_stale,
            "versions": versions,
        }
        record["seal"] = self._encrypt(AESGCM(data_key), b"", _whole(credential.id, record))
        return _json(record)

    def open(self, credential: CredentialId, blob: bytes) -> Credential:
        """What `blob`, found under this id, holds; BrokenCredentialError if it was touched."""
        record = _Record(credential, blob)
        current, data_key = self._open_version(record, record.versions[0])
        previous = None
        if len(record.versions) == 2:
            previous, _ = self._open_version(record, record.versions[1])
        try:
            sealed = {name: value for name, value in record.data.items() if name != "seal"}
            _decrypt(AESGCM(data_key), record.data.get("seal"), _whole(credential, sealed))
        except (InvalidTag, ValueError):
            raise BrokenCredentialError(
                credential, "its settings (type, times, grace) are not what the gateway wrote"
            ) from None
        return record.credential(current, previous)

    def _seal_version(self, owner: CredentialId, version: Version, key: bytes) -> dict[str, Any]:
        cipher = AESGCM(key)
        master = self._keys.ids[0]
        wrapping = self._keys.find(master)
        assert wrapping is not None  # noqa: S101 (the id is one of its own)
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

    def _open_version(self, record: "_Record", version: dict[str, Any]) -> tuple[Version, bytes]:
        credential, number = record.id, version["version"]
        wrapping = self._keys.find(version["master"])
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


class _Record:
    """A record whose form is right; whether its content is, only the keys tell."""

    def __init__(self, credential: CredentialId, blob: bytes) -> None:
        self.id = credential
        try:
            self.data = _read(blob)
        except (ValueError, RecursionError):
            raise BrokenCredentialError(credential, "its record cannot be read") from None
        self.versions: list[dict[str, Any]] = self.data["versions"]

    def credential(self, current: Version, previous: Version | None) -> Credential:
        data = self.data
        try:
            check_fields(data["type"], current.fields)
        except ValueError as problem:
            raise BrokenCredentialError(self.id, str(problem)) from None
        return Credential(
            self.id,
            data["type"],
            current,
            previous,
            data["expires_at"],
            data["max_stale"],
            data["created_at"],
            data["created_by"],
            data["rotated_at"],
        )


def latest_version(blob: bytes) -> int:
    """The number that a record claims, unchecked; 0 where it cannot be read."""
    try:
        number: int = _read(blob)["versions"][0]["version"]
    except (ValueError, RecursionError):
        return 0
    return number


def master_ids(blob: bytes) -> frozenset[str]:
    """Which master keys a record claims to need, unchecked."""
    try:
        return frozenset(version["master"] for version in _read(blob)["versions"])
    except (ValueError, RecursionError):
        return frozenset()


def _read(blob: bytes) -> dict[str, Any]:
    """A record as data; ValueError unless everything is there and of its kind."""
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
    """The associated data of one value; of a data key where `field_name` is empty."""
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
