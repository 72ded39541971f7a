"""The secrets that must not come back in answers: the injected ones, and those injected recently.

A server may repeat values long after they were rotated, and a stream that was opened before a
rotation may hold values from after it.
"""

import asyncio
import weakref
from collections.abc import Callable

from gateway.protocol.secrets import Secret, Secrets

REMEMBERED_SECONDS = 3600.0
# How many earlier sets are still looked for when rotations follow each other.
MOST_BEFORE = 8


class RecentSecrets:
    """The secrets of one place and user. `secrets`: the current and the recent ones, replaced by a
    new object on each change. A set is forgotten `seconds` after it was last injected."""

    def __init__(self, seconds: float) -> None:
        self.secrets = Secrets()
        self._seconds = seconds
        self._newest: tuple[Secret, ...] = ()
        self._before: dict[tuple[Secret, ...], float] = {}
        self._waits = False

    def set_current(self, pairs: tuple[Secret, ...]) -> None:
        """Set the current secrets."""
        if pairs == self._newest:
            return
        if self._newest:
            self._before[self._newest] = asyncio.get_running_loop().time() + self._seconds
        # Drop sets that the new one covers: a stream and a call may inject more or less of one set.
        known = set(pairs)
        self._before = {one: until for one, until in self._before.items() if not known >= set(one)}
        if len(self._before) > MOST_BEFORE:
            del self._before[next(iter(self._before))]
        self._newest = pairs
        self._changed()

    def _changed(self) -> None:
        sets = (self._newest, *reversed(self._before))
        pairs = tuple(dict.fromkeys(pair for one in sets for pair in one))
        # Only a changed set is worth preparing a new search.
        if set(pairs) != set(self.secrets.pairs):
            self.secrets = Secrets(pairs)
        if self._before and not self._waits:
            self._waits = True
            until = next(iter(self._before.values()))
            asyncio.get_running_loop().call_at(until, _expire, weakref.ref(self))

    def expire(self) -> None:
        """Drop the sets whose time is over."""
        self._waits = False
        now = asyncio.get_running_loop().time()
        self._before = {pairs: until for pairs, until in self._before.items() if until > now}
        self._changed()


def _expire(recent: "weakref.ref[RecentSecrets]") -> None:
    found = recent()
    if found is not None:
        found.expire()


class CallSecrets:
    """The secrets for calls with the values `own`, however long they last: these, and those
    injected at the same place before and after, also by other workers. `changed` returns the
    credentials' current secrets, or None if they have not changed since it was last called."""

    def __init__(
        self,
        own: tuple[Secret, ...],
        recent: RecentSecrets,
        changed: Callable[[], tuple[Secret, ...] | None],
    ) -> None:
        self.own = own
        self._recent = recent
        self._changed = changed
        # A weak reference, so that what has expired in `RecentSecrets` does not stay here.
        self._seen: weakref.ref[Secrets] | None = None
        self._with_own: Secrets | None = None

    @property
    def secrets(self) -> Secrets:
        """The secrets to look for; a new object after each change."""
        if (changed := self._changed()) is not None:
            self._recent.set_current(changed)
        known = self._recent.secrets
        if self._seen is None or self._seen() is not known:
            self._seen = weakref.ref(known)
            both = known.and_also(self.own)
            self._with_own = None if both is known else both
        return self._with_own or known
