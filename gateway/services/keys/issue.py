"""Making secrets: a new key, or a new secret for an existing key.

The plaintext is made here, handed out once in `Issued`, and kept nowhere.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from gateway.crypto.argon2 import hash_key
from gateway.crypto.tags import Peppers
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.keys import key as key_grammar
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.key import ENVS, ID_LENGTH, SECRET_LENGTH, Env, Key, contains_key
from gateway.domain.keys.record import (
    ALWAYS_WRITTEN,
    CANARY,
    REVOKED,
    KeyRecord,
    unix_time,
    words,
)
from gateway.domain.units import DAY
from gateway.services.keys.audited import Keys
from gateway.services.keys.find import NO_KEY, REVOKED_KEY, find_key
from gateway.store.keys import NewSecret, SecretVerdict

LONGEST_GRACE = 365 * DAY
ATTEMPTS = 8

REFUSALS = MappingProxyType(
    {
        "different": "This idempotency key was used for a different request less than ten minutes "
        "ago: choose another one.",
        "changed": "Key {id} was changed after this idempotency key was first used: look at it "
        "with 'gateway keys show {id}' and choose another idempotency key.",
        "gone": "Key {id}, made with this idempotency key, was deleted since: choose another one.",
        "missing": NO_KEY,
        "revoked": REVOKED_KEY,
        "no_secret": "The record of {id} has no hash, so there is no secret to rotate: delete it "
        "with 'gateway keys delete {id}' and create a new key.",
    }
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A key in plaintext, for its owner only, and its record.

    `repeated`: an idempotency key was used again, and only the lost secret was replaced. `revived`:
    the key was revoked before.
    """

    key: Key
    record: KeyRecord
    repeated: bool
    revived: bool = False

    def for_owner(self) -> dict[str, Any]:
        """Return what its owner is told, this once; `plan` and `expires_at` are None if not set."""
        record = self.record
        return {
            "id": record.id,
            "key": self.key.text,
            "consumer": record.consumer,
            "scopes": words(record.scopes),
            "plan": record.plan or None,
            "expires_at": unix_time(record.expires_at),
        }


class Issuer:
    """`draw(n)` returns n base62 characters from a CSPRNG; tags are made if there is a pepper."""

    def __init__(self, keys: Keys, peppers: Peppers, draw: Callable[[int], str]) -> None:
        self._keys = keys
        self._peppers = peppers
        self._draw = draw

    async def create(
        self,
        fields: KeyFields,
        env: Env,
        created_by: str,
        idempotency_key: str = "",
        *,
        canary: bool = False,
    ) -> Issued:
        """Create a key, or a decoy that looks like one. UsageError for invalid fields,
        OperationError if refused.

        A repeat ignores `expires_at`: `30d` is another second each time.
        """
        values = _complete(fields)
        if canary:
            values["status"] = CANARY
        request = digest(env, *(f"{k}={v}" for k, v in values.items() if k != "expires_at"))
        marker = _marker(idempotency_key)
        for _ in range(ATTEMPTS):
            key_id = self._draw(ID_LENGTH)
            if marker:
                key_id = await self._keys.claim(marker, key_id)
            key, secret = await self._new_secret(env, key_id, marker, request)
            verdict, record = await self._keys.create(
                key_id, secret, {**values, "env": env, "created_by": created_by}
            )
            if verdict != "taken":
                return _issued(verdict, key, record)
        raise OperationError("No free key id was found: try again.")

    async def rotate(
        self, key_id: str, grace: float, idempotency_key: str = "", *, revive: bool = True
    ) -> Issued:
        """Make a new secret for `key_id`; the old one works for `grace` more seconds.

        A key that is not alive gets no grace. With `revive`, one that is revoked already becomes
        active again; one that is revoked meanwhile stays so.
        """
        if grace > LONGEST_GRACE:
            raise UsageError("A grace is at most 365d: the old secret has to end.")
        before = await find_key(self._keys, key_id)
        key, secret = await self._new_secret(
            _env(before), key_id, _marker(idempotency_key), digest("rotate")
        )
        revive = revive and before.status == REVOKED
        verdict, record = await self._keys.rotate(key_id, secret, math.ceil(grace), revive=revive)
        return replace(_issued(verdict, key, record), revived=revive)

    async def _new_secret(
        self, env: Env, key_id: str, marker: str, request: str
    ) -> tuple[Key, NewSecret]:
        key = key_grammar.compose(env, key_id, self._draw(SECRET_LENGTH))
        phc = await asyncio.to_thread(hash_key, key.text)
        tag = self._peppers.make(key.text, phc)
        return key, NewSecret(phc, tag, key.last4, marker, request)


def _complete(fields: KeyFields) -> dict[str, str]:
    values = fields.values()
    if "consumer" not in values:
        raise UsageError("A key needs a consumer, whose key it is, such as 'sales'.")
    if "scopes" not in values:
        values |= KeyFields(scopes=()).values()
    # The store makes it active.
    return {name: "" for name in ALWAYS_WRITTEN if name != "status"} | values


def _issued(verdict: SecretVerdict, key: Key, record: KeyRecord) -> Issued:
    if verdict in ("made", "replaced"):
        return Issued(key, record, repeated=verdict == "replaced")
    raise OperationError(REFUSALS[verdict].format(id=key.id))


def _env(record: KeyRecord) -> Env:
    return next((env for env in ENVS if env == record.env), "live")


def _marker(idempotency_key: str) -> str:
    if contains_key(idempotency_key):
        raise UsageError("The idempotency key holds a whole key: choose something that is not one.")
    return digest(idempotency_key) if idempotency_key else ""


def digest(*parts: str) -> str:
    """Return what stands in Redis for an idempotency key, or for what was asked with it."""
    return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
