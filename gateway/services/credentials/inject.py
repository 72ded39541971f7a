"""Find the values that are injected into a call: the newest ones, and the previous ones."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import aiohttp

from gateway.domain.audit.record import Named
from gateway.domain.credentials import TYPES, Credential, CredentialId, Version
from gateway.domain.policies.references import id_of
from gateway.domain.policies.services import Inject, Sign
from gateway.domain.policies.snapshot import Outbound
from gateway.protocol.http.request import Header
from gateway.protocol.inject import names_of
from gateway.protocol.secrets import Secrets
from gateway.services.audit.writer import Audit
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.recent_secrets import (
    REMEMBERED_SECONDS,
    CallSecrets,
    RecentSecrets,
)
from gateway.services.credentials.rendered import (
    header,
    pairs,
    removed_headers,
    signing_fields,
    whole_credential,
)
from gateway.services.credentials.secrets_to_hide import (
    ChangedSecrets,
    Found,
    is_token,
    secrets_to_hide,
    versions,
)
from gateway.services.credentials.tokens import Tokens

MOST_CACHED = 1024
REFRESH_SECONDS = 1.0
# A compressed answer could not be searched for secrets.
_PLAIN = (b"Accept-Encoding", b"identity")

Pairs = tuple[tuple[str, str], ...]
# A service, and the user whose credentials are injected.
Place = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Values:
    """What is injected into one request. `names`: the caller's headers that are removed for it, in
    the form in which names are compared. `signing`: how the request is signed, with the fields of
    the signing credential. `uses`: names and versions of all credentials in it. `uses_beside`: the
    same without those that are used only in `arguments` of tool calls or fields of a `body`."""

    headers: tuple[Header, ...] = field(repr=False)
    names: frozenset[bytes]
    query: Pairs = field(repr=False)
    body: Pairs = field(repr=False)
    signing: tuple[Sign, Mapping[str, str]] | None = field(repr=False)
    uses: tuple[Named, ...]
    uses_beside: tuple[Named, ...]
    arguments: Pairs = field(default=(), repr=False)
    env: Pairs = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Injected:
    """`previous`: the values before a rotation, during its grace period. `call_secrets`: all values
    of both, and what is derived from them. `tokens`: the fetched ones."""

    newest: Values
    previous: Values | None
    call_secrets: CallSecrets
    tokens: tuple[tuple[CredentialId, str], ...] = field(repr=False)

    @property
    def secrets(self) -> Secrets:
        """The secrets that an answer must not hold. They change while a stream is open, so a stream
        asks again."""
        return self.call_secrets.secrets


@dataclass(frozen=True, slots=True)
class _Cached:
    """The cached result for `inject` at a `generation` of the credentials, valid `until` then."""

    inject: Inject
    generation: int
    until: float
    injected: Injected


@asynccontextmanager
async def open_injector(
    credentials: LiveCredentials, audit: Audit, remembered: float = REMEMBERED_SECONDS
) -> AsyncIterator["Injector"]:
    """Yield an injector. Tokens are fetched without cookies, and each fetch is on record."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        tokens = Tokens(session, audit, time.monotonic)
        try:
            yield Injector(credentials, tokens, remembered)
        finally:
            await tokens.close()


class Injector:
    """Finds values in memory; Denied(credential_unavailable) if one cannot be had. `remembered`:
    for how many seconds rotated values are still looked for in answers."""

    def __init__(self, credentials: LiveCredentials, tokens: Tokens, remembered: float) -> None:
        self._credentials = credentials
        self._remembered = remembered
        self._tokens = tokens
        self._cache: dict[Place, _Cached] = {}
        # Entries live as long as a cached result, or a stream that was opened with one.
        self._recent: WeakValueDictionary[Place, RecentSecrets] = WeakValueDictionary()
        self._refreshing = asyncio.Lock()
        self._refreshed_at = -math.inf

    def cached(self, service: Outbound, inject: Inject, user: str | None) -> Injected | None:
        """Return what `values` would, if it is cached and needs no waiting."""
        kept = self._cache.get((service.place, user))
        if (
            kept is not None
            and kept.inject is inject
            and kept.generation == self._credentials.generation
            and self._credentials.now() < kept.until
        ):
            return kept.injected
        return None

    async def values(self, service: Outbound, inject: Inject, user: str | None) -> Injected:
        """Return what a call to `service` for this user has to hold."""
        generation = self._credentials.generation
        references = inject.references
        ids = {reference: id_of(reference, user) for reference in references}
        await self._look_for(ids.values())
        await self._credentials.freshen(tuple(ids.values()))
        known = {reference: self._credentials.find(name) for reference, name in ids.items()}
        newest, older = versions(known, self._credentials.now())
        found = await self._with_tokens(newest)
        place = service.place, user
        # Shared credentials go into the calls of all users, and a server may reveal to one what it
        # got from another.
        others = service.inject.references
        shared = not any(reference.of_user for reference in (*references, *others))
        changes = ChangedSecrets(self._credentials, ids, generation)
        hidden = self._call_secrets(
            (service.place, None if shared else user), found, older, changes
        )
        injected = _injected(inject, found, older, hidden)
        if not references:
            # This is cheap to make, and another message of the same user may hold more.
            return injected
        until = -math.inf
        if all(_may_be_cached(credential) for credential, _ in found.values()):
            until = min((v.until for _, v in older.values() if v.until), default=math.inf)
        self._cache.pop(place, None)
        if len(self._cache) >= MOST_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[place] = _Cached(inject, generation, until, injected)
        return injected

    def _call_secrets(
        self, place: Place, newest: Found, older: Found, changes: ChangedSecrets
    ) -> CallSecrets:
        pairs, recent = secrets_to_hide(newest, older), self._recent.get(place)
        if recent is None:
            recent = self._recent[place] = RecentSecrets(self._remembered)
        recent.set_current(pairs)
        return CallSecrets(pairs, recent, changes)

    async def missing(self, inject: Inject, user: str | None) -> CredentialId | None:
        """Return the first of these credentials that does not exist, even after another look at the
        vault; None: all exist.

        Denied if one is the user's own and no user is named.
        """
        ids = [id_of(reference, user) for reference in inject.references]
        await self._look_for(ids)
        return next((name for name in ids if name not in self._credentials.known), None)

    async def _look_for(self, ids: Iterable[CredentialId]) -> None:
        """Ask the vault again if one of these is not known: a user may have entered it this very
        moment."""
        if any(name not in self._credentials.known for name in ids):
            await self.refresh()

    def is_decoy(self, name: CredentialId) -> bool:
        return self._credentials.is_decoy(name)

    async def refresh(self) -> None:
        """Ask the vault for changes since its last poll; at most once a second, because callers
        decide how often this is called."""
        async with self._refreshing:
            if time.monotonic() - self._refreshed_at >= REFRESH_SECONDS:
                await self._credentials.check()
                self._refreshed_at = time.monotonic()

    async def _with_tokens(self, newest: Found) -> Found:
        """Fill in the tokens of references to fetched credentials."""
        found = dict(newest)
        for reference, (credential, version) in newest.items():
            if is_token(reference, credential):
                # A new secret that the provider does not accept yet leaves the previous one usable.
                before = credential.previous_at(self._credentials.now())
                usable = (version, before) if before is not None else (version,)
                used, token = await self._tokens.get(credential.id, *usable)
                fields = {**used.fields, "": token}
                found[reference] = (credential, Version(used.number, fields, used.until))
        return found

    def forget_tokens(self, injected: Injected) -> bool:
        """Drop the tokens among these values, because the service refused them, unless tokens were
        refused a moment ago. Return whether there may be others now."""
        others = [self._tokens.forget(name, token) for name, token in injected.tokens]
        return any(others)


def _may_be_cached(credential: Credential) -> bool:
    """Whether its values may be cached: it need not be checked at each use, and is no fetched
    token."""
    return credential.max_stale is None and not TYPES[credential.type].fetched


def _injected(inject: Inject, newest: Found, older: Found, hidden: CallSecrets) -> Injected:
    previous = None
    if older:
        previous = _values(inject, {**newest, **older})
    tokens = tuple((c.id, v.fields[""]) for r, (c, v) in newest.items() if is_token(r, c))
    return Injected(_values(inject, newest), previous, hidden, tokens)


def _values(inject: Inject, found: Found) -> Values:
    signing = None
    if inject.sign is not None:
        signing = inject.sign, signing_fields(*found[inject.sign.credential])
    named = _named_headers(inject, found)
    headers = [(name.encode("ascii"), header(name, text)) for name, text in named]
    headers.append(_PLAIN)
    return Values(
        tuple(headers),
        names_of(headers).union(*removed_headers(inject)),
        pairs(inject.query, found),
        pairs(inject.body, found),
        signing,
        _uses(found.values()),
        _uses(found[one] for one in replace(inject, arguments=(), body=()).references),
        pairs(inject.arguments, found),
        pairs(inject.env, found),
    )


def _named_headers(inject: Inject, found: Found) -> Pairs:
    """Return names and texts of headers. A whole credential stands in place of lines that have its
    names: of two lines with one name, each server would believe another."""
    lines = pairs(inject.headers, found)
    if inject.whole is None:
        return lines
    whole = whole_credential(*found[inject.whole])
    names = {name.lower() for name, _ in whole}
    return (*(line for line in lines if line[0].lower() not in names), *whole)


def _uses(found: Iterable[tuple[Credential, Version]]) -> tuple[Named, ...]:
    return tuple(dict.fromkeys(Named(str(c.id), v.number) for c, v in found))
