"""Tokens of `oauth2` credentials: fetched by client credentials (RFC 6749 section 4.4), cached, and
renewed before they expire."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import aiohttp

from gateway.domain.audit.record import AuditEvent, Named
from gateway.domain.credentials import CredentialId, Version
from gateway.domain.errors import Code, Denied, GatewayError
from gateway.log import log
from gateway.services.audit.writer import Audit
from gateway.services.credentials.usable import is_token_url
from gateway.tasks import cancel_and_wait

ANSWER_SECONDS = 10.0
LONGEST_ANSWER = 256 * 1024
# RFC 6749 section 5.1: the lifetime may be left out; then a token is renewed this often.
DEFAULT_SECONDS = 300.0
# A token is renewed when a fifth of its life is left, at most a minute, and is used meanwhile.
EARLY_PART = 0.2
EARLIEST_SECONDS = 60.0
# After a failure nobody asks again for this long: more load does not help an identity provider.
PAUSE_SECONDS = 1.0
# A service may refuse what a call asks for, and not its token: callers that ask for forbidden
# things must not cause a new token for everybody with each call.
BETWEEN_REFUSALS = 2.0


class TokenError(GatewayError):
    """No token; `str()` says why, without quoting what was sent or answered."""


@dataclass(slots=True)
class _Token:
    version: Version
    text: str = field(repr=False)
    renew_at: float = 0.0
    ends_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """`until`: when another try is allowed. `code`: of refusals until then."""

    version: Version
    until: float
    code: Code


# A credential's name, and the number of the version that its token is fetched with.
_Key = tuple[CredentialId, int]


class Tokens:
    """One token for each version of a credential, shared by all callers. Each fetch is on record
    before the secret is sent. `clock`: monotonic seconds."""

    def __init__(
        self, session: aiohttp.ClientSession, audit: Audit, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._audit = audit
        self._clock = clock
        self._tokens: dict[_Key, _Token] = {}
        self._fetches: dict[_Key, tuple[Version, asyncio.Task[None]]] = {}
        self._failed: dict[_Key, _Failure] = {}
        # When a token of this credential was last dropped because it was refused.
        self._refused_at: dict[CredentialId, float] = {}

    async def get(self, name: CredentialId, *versions: Version) -> tuple[Version, str]:
        """Return a valid token and its version: the first of `versions` for which there is one. If
        there is none, Denied(credential_unavailable), or Denied(audit_unavailable) if that was the
        reason."""
        code = Code.CREDENTIAL_UNAVAILABLE
        for version in versions:
            token = self._valid(name, version)
            if token is None:
                await self._fetched(name, version)
                token = self._valid(name, version)
            elif self._clock() >= token.renew_at:
                self._fetch(name, version)
            if token is not None:
                return version, token.text
            failure = self._failed.get((name, version.number))
            code = failure.code if failure is not None else code
        raise Denied(code)

    def forget(self, name: CredentialId, text: str) -> bool:
        """Drop this token, because a service refused it; one that was fetched since is kept. Return
        whether there may be another one now: not if the previous refusal was a moment ago."""
        now = self._clock()
        found = [of for of, one in self._tokens.items() if of[0] == name and one.text == text]
        if not found:
            return True
        if now < self._refused_at.get(name, -math.inf) + BETWEEN_REFUSALS:
            return False
        self._refused_at[name] = now
        for of in found:
            del self._tokens[of]
        return True

    async def close(self) -> None:
        await cancel_and_wait(*(task for _, task in self._fetches.values()))

    def _valid(self, name: CredentialId, version: Version) -> _Token | None:
        token = self._tokens.get((name, version.number))
        if token is None or self._clock() >= token.ends_at:
            return None
        # Not by identity: a record that was written anew, as by a rotation, is read anew.
        return token if token.version.fields == version.fields else None

    async def _fetched(self, name: CredentialId, version: Version) -> None:
        # Shielded: the caller who asked first may leave while others wait.
        task = self._fetch(name, version)
        if task is not None:
            await asyncio.shield(task)

    def _fetch(self, name: CredentialId, version: Version) -> "asyncio.Task[None] | None":
        """Return the one fetch in progress, started if need be; None: it failed a moment ago."""
        key = (name, version.number)
        of, task = self._fetches.get(key, (None, None))
        if task is not None and of is version:
            return task
        failure = self._failed.get(key)
        if failure is not None and failure.version is version and self._clock() < failure.until:
            return None
        task = asyncio.create_task(self._renew(name, version))
        self._fetches[key] = (version, task)
        return task

    async def _renew(self, name: CredentialId, version: Version) -> None:
        key = (name, version.number)
        try:
            used = (Named(str(name), version.number),)
            await self._audit.record(
                AuditEvent("credential.token", user=name.owner, credentials=used)
            )
            text, seconds = await self._request(version.fields)
        except (TokenError, Denied) as problem:
            log.warning("token_unavailable", credential=str(name), reason=str(problem))
            code = problem.code if isinstance(problem, Denied) else Code.CREDENTIAL_UNAVAILABLE
            self._failed[key] = _Failure(version, self._clock() + PAUSE_SECONDS, code)
        else:
            now = self._clock()
            early = min(EARLIEST_SECONDS, seconds * EARLY_PART)
            self._failed.pop(key, None)
            self._drop_older(key)
            self._tokens[key] = _Token(version, text, now + seconds - early, now + seconds)
        finally:
            if self._fetches.get(key, (None, None))[0] is version:
                del self._fetches[key]

    def _drop_older(self, key: _Key) -> None:
        for kept in (self._tokens, self._failed):
            for older in [one for one in kept if one[0] == key[0] and one[1] < key[1]]:
                del kept[older]

    async def _request(self, fields: Mapping[str, str]) -> tuple[str, float]:
        url = fields["token_url"]
        if not is_token_url(url):
            raise TokenError("The credential's token_url is no https URL that may be called.")
        form = {"grant_type": "client_credentials"}
        if fields.get("scopes"):
            form["scope"] = fields["scopes"]
        who = (fields["client_id"], fields["client_secret"])
        status, body = await self._post(url, form, _basic(*who))
        if status in (400, 401):
            # RFC 6749 section 2.3.1: some servers accept the client's name and secret only in the
            # body.
            more = {"client_id": who[0], "client_secret": who[1]}
            status, body = await self._post(url, form | more, {})
        if status != 200:
            raise TokenError(f"The token's URL answers {status}.")
        return _read(body)

    async def _post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                url,
                data=form,
                headers={"Accept": "application/json", **headers},
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                # The secret is for the host that the credential names, and for no other.
                allow_redirects=False,
            ) as answer:
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > LONGEST_ANSWER:
                        raise TokenError("The token's URL answers without an end.")
                return answer.status, bytes(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
            # Its text may quote anything that the other side has sent.
            raise TokenError(f"The token's URL fails: {type(problem).__name__}.") from None


def _basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(quote_plus(name), quote_plus(secret))}


def _read(body: bytes) -> tuple[str, float]:
    try:
        answer: Any = json.loads(body)
        text, kind = answer["access_token"], answer.get("token_type", "Bearer")
        seconds = float(answer.get("expires_in", DEFAULT_SECONDS))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise TokenError("The token's URL answers something that is no token.") from None
    # RFC 6749 appendix A.12: a token is of printable ASCII. Others could not be sent, yet be kept.
    sendable = isinstance(text, str) and text and text.isascii() and text.isprintable()
    if not sendable or str(kind).lower() != "bearer" or not seconds > 0:
        raise TokenError("The token's URL answers something that is no bearer token.")
    return text, seconds
