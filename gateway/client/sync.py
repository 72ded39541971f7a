"""Credentials in memory, kept up to date; used by workers and by agents.

The first fetch gets everything, later ones only what was written since. While the source is away,
known credentials are still used, each for its `max_stale`. A broken one does not affect the others.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gateway.client.changes import Changes, Source, SourceError
from gateway.domain.backoff import pause_after
from gateway.domain.credentials import Credential, CredentialId

JITTER = 0.2
FIRST_RETRY = 0.5
# The shortest pause between two checks, whatever a credential's `max_stale` asks for.
SHORTEST_PAUSE = 0.5
# The shortest poll interval: each poll may be charged to a key's limits.
SHORTEST_POLL = 0.1
# Clients that cannot ask at each use treat a `max_stale` of 0 as this many seconds.
FRESH_SECONDS = 2.0


class UnavailableError(LookupError):
    """A credential is missing, broken or too stale; `str()` is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an operator should know about one check. `error` empty: it succeeded."""

    error: str = ""
    changed: tuple[CredentialId, ...] = ()
    removed: tuple[CredentialId, ...] = ()
    broken: Mapping[CredentialId, str] = field(default_factory=lambda: MappingProxyType({}))
    recovered: bool = False


class Sync:
    """`poll`: seconds between two checks, give or take a fifth. `on_report` gets the reports."""

    def __init__(
        self,
        source: Source,
        poll: float,
        on_report: Callable[[Report], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._source = source
        self._poll = max(SHORTEST_POLL, poll)
        self.on_report = on_report
        self._clock = clock
        self._draw = draw
        self._known: dict[CredentialId, Credential] = {}
        self._gone: dict[CredentialId, int] = {}
        # Since when each is broken, and why.
        self._broken: dict[CredentialId, tuple[float, str]] = {}
        self._checked_at: float | None = None
        self._failures = 0
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self.revision = 0
        # Grows whenever the result of `get` may have changed.
        self.generation = 0
        self.problem: SourceError | None = None

    @property
    def last_error(self) -> str:
        """Why the last check failed; empty if it did not."""
        return str(self.problem or "")

    @property
    def ready(self) -> bool:
        """Whether everything has been fetched at least once."""
        return self._checked_at is not None

    @property
    def known(self) -> Mapping[CredentialId, Credential]:
        return MappingProxyType(self._known)

    @property
    def gone(self) -> Mapping[CredentialId, int]:
        """Removed credentials, with the revision of their removal."""
        return MappingProxyType(self._gone)

    @property
    def broken(self) -> Mapping[CredentialId, str]:
        return {name: reason for name, (_, reason) in self._broken.items()}

    def age(self, credential: CredentialId | None = None) -> float:
        """Return seconds since the last good check; for a broken credential, since it broke."""
        if self._checked_at is None:
            return float("inf")
        at = self._checked_at
        if credential in self._broken:
            at = min(at, self._broken[credential][0])
        return self._clock() - at

    def get(self, credential: CredentialId) -> Credential:
        """Return the newest version; UnavailableError if there is none, or if it is too stale."""
        known = self._known.get(credential)
        if known is None:
            raise UnavailableError(self._why_not(credential))
        most = known.max_stale
        if most is not None and self.age(credential) > (most or self._freshness):
            raise UnavailableError(
                f"Credential '{credential}' was last confirmed {self.age(credential):.0f} s ago "
                f"and may be {most} s stale: {self._reason(credential)}"
            )
        return known

    async def freshen(self, credentials: Iterable[CredentialId]) -> None:
        """Check at once if one of these is staler than it may be; UnavailableError if that fails.
        If nothing has to be fresh, this costs only a lookup."""
        asked_at = self._clock()
        for credential in credentials:
            known = self._known.get(credential)
            if known is None or known.max_stale is None:
                continue
            if self._is_fresh(credential, known.max_stale, asked_at):
                continue
            async with self._lock:
                if not self._is_fresh(credential, known.max_stale, asked_at):
                    await self._check(0.0)
            if not self._is_fresh(credential, known.max_stale, asked_at):
                raise UnavailableError(
                    f"Credential '{credential}' is too stale: {self._reason(credential)}"
                )

    def _is_fresh(self, credential: CredentialId, most: int, asked_at: float) -> bool:
        """Whether it is fresh enough. `most` 0: only a check since it was `asked` for counts."""
        return self.age(credential) <= (most or self._clock() - asked_at)

    async def check(self, wait: float = 0.0) -> bool:
        """Ask the source once; return whether it answered."""
        async with self._lock:
            return await self._check(wait)

    async def first(self, patience: float) -> None:
        """Check until one succeeds; after this many seconds SourceError says why none did."""
        ends = self._clock() + patience
        while not await self.check():
            left = ends - self._clock()
            if left <= 0 or (self.problem is not None and self.problem.final):
                raise self.problem or SourceError("The credentials could not be fetched.")
            await asyncio.sleep(min(left, self._pause(0.0)))

    async def run(self) -> None:
        """Check again and again. Never ends by itself."""
        pause = 0.0 if self._source.waits and not self._failures else self._pause(0.0)
        while True:
            await self._rest(pause)
            before, began = self.revision, self._clock()
            answered = await self.check(self._pause(0.0) if self._source.waits else 0.0)
            soon = answered and self._source.waits and self.revision != before
            pause = SHORTEST_PAUSE if soon else self._pause(self._clock() - began)

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until the source tells of news, but not less than the shortest pause."""
        await asyncio.sleep(min(seconds, SHORTEST_PAUSE))
        left = max(0.0, seconds - SHORTEST_PAUSE)
        if self._failures:
            await asyncio.sleep(left)
        else:
            await self._source.until_news(self.revision, left)

    async def changed(self, seconds: float) -> bool:
        """Wait at most this long for a check that changes something; return whether one came."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _pause(self, spent: float) -> float:
        """Return the seconds until the next check, of which `spent` are over."""
        cadence = self._cadence()
        if self._failures:
            cadence = pause_after(self._failures, FIRST_RETRY, cadence)
        return max(0.0, self._draw(1 - JITTER, 1 + JITTER) * cadence - spent)

    def _cadence(self) -> float:
        """Return an interval in which no credential becomes stale while all is well. Credentials
        that must be fresh are checked at each use, except by agents that pull, which hand them out
        by themselves."""
        least = FRESH_SECONDS if self._source.waits else self._poll * 3
        limits = (one.max_stale for one in self._known.values() if one.max_stale is not None)
        wishes = ((most or least) / 3 for most in limits)
        return min(self._poll, max(SHORTEST_PAUSE, min(wishes, default=self._poll)))

    @property
    def _freshness(self) -> float:
        """The greatest age of a check that vouches for a credential that must be fresh; negative
        after a failure."""
        return -1.0 if self._failures else FRESH_SECONDS

    async def _check(self, wait: float) -> bool:
        began = self._clock()
        try:
            changes = await self._source.fetch(self.revision, wait)
        except SourceError as problem:
            self._failures += 1
            first, self.problem = self.last_error != str(problem), problem
            if first:
                self.on_report(Report(error=self.last_error))
            return False
        # A fetch that was held back was true when it ended; the source says how old it was then.
        at = self._clock() if self._source.waits else began
        report = self._apply(changes, at - changes.age)
        recovered = bool(self._failures) and self.ready
        self._failures, self.problem = 0, None
        if recovered or report.changed or report.removed or report.broken:
            self.on_report(replace(report, recovered=recovered))
        return True

    def _apply(self, changes: Changes, at: float) -> Report:
        broken = dict(changes.broken)
        removed = dict(changes.removed)
        if changes.whole:
            listed = {one.id for one in changes.changed} | broken.keys()
            removed |= dict.fromkeys(self._known.keys() - listed - removed.keys(), changes.revision)
        changed = []
        for one in changes.changed:
            before = self._known.get(one.id)
            if before is not None and one.is_older_than(before):
                broken[one.id] = (
                    f"Credential '{one.id}' went back from version {before.current.number} to "
                    f"{one.current.number}: the older record is refused."
                )
                continue
            self._known[one.id] = one
            self._gone.pop(one.id, None)
            self._broken.pop(one.id, None)
            if before is None or (before.current, before.type) != (one.current, one.type):
                changed.append(one.id)
        for name, revision in removed.items():
            self._known.pop(name, None)
            self._broken.pop(name, None)
            self._gone[name] = revision
        news = {}
        for name, reason in broken.items():
            since, before_that = self._broken.get(name, (at, ""))
            self._broken[name] = (since, reason)
            if reason != before_that:
                news[name] = reason
        self._checked_at, self.revision = at, changes.revision
        if changes.changed or removed or broken:
            self.generation += 1
        if changes.changed or removed:
            waiting, self._changed = self._changed, asyncio.Event()
            waiting.set()
        return Report(changed=tuple(changed), removed=tuple(removed), broken=news)

    def _why_not(self, credential: CredentialId) -> str:
        if credential in self._broken:
            return self._broken[credential][1]
        if not self.ready:
            return f"The credentials were not fetched yet: {self.last_error or 'it is too early.'}"
        return f"There is no credential '{credential}'."

    def _reason(self, credential: CredentialId) -> str:
        if credential in self._broken:
            return self._broken[credential][1]
        return self.last_error or "it could not be checked."
