"""What must not come back out of calls: what was put into them, and what was put in lately.

A server remembers: long after a rotation it may tell of values before it, and a stream that was
opened before one tells of those after it.
"""

import asyncio
import weakref
from collections.abc import Callable

from gateway.protocol.secrets import Secret, Secrets

REMEMBERED_SECONDS = 3600.0
# Rotations that are looked behind, where one follows another.
MOST_BEFORE = 8

Pairs = tuple[Secret, ...]


class Lately:
    """Of one place and user. `secrets`: those that are put in now and those that were; another
    object after each change. What was put in before is forgotten `seconds` after it was last."""

    def __init__(self, seconds: float = REMEMBERED_SECONDS) -> None:
        self.secrets = Secrets()
        self._seconds = seconds
        self._newest: Pairs = ()
        self._before: dict[Pairs, float] = {}
        self._waits = False

    def put_in(self, pairs: Pairs) -> None:
        """From now on, these are."""
        if pairs == self._newest:
            return
        if self._newest:
            self._before[self._newest] = asyncio.get_running_loop().time() + self._seconds
        # Not what is looked for anyway: a stream and a call may put in more or less of one set.
        known = set(pairs)
        self._before = {one: until for one, until in self._before.items() if not known >= set(one)}
        if len(self._before) > MOST_BEFORE:
            del self._before[next(iter(self._before))]
        self._newest = pairs
        self._changed()

    def _changed(self) -> None:
        sets = (self._newest, *reversed(self._before))
        pairs = tuple(dict.fromkeys(pair for one in sets for pair in one))
        # To look for others is to be prepared.
        if set(pairs) != set(self.secrets.pairs):
            self.secrets = Secrets(pairs)
        if self._before and not self._waits:
            self._waits = True
            until = next(iter(self._before.values()))
            asyncio.get_running_loop().call_at(until, _forget, weakref.ref(self))

    def forget(self) -> None:
        """What is over by now."""
        self._waits = False
        now = asyncio.get_running_loop().time()
        self._before = {pairs: until for pairs, until in self._before.items() if until > now}
        self._changed()


def _forget(lately: "weakref.ref[Lately]") -> None:
    found = lately()
    if found is not None:
        found.forget()


class Hidden:
    """For calls with the values `own`, however long they last: these, and what is put in at the
    same place before and after, by other workers too. `changed`: what that is by now; None: what
    it was when it was last asked."""

    def __init__(self, own: Pairs, lately: Lately, changed: Callable[[], Pairs | None]) -> None:
        self.own = own
        self._lately = lately
        self._changed = changed
        # What is forgotten there is not to stay here.
        self._looked_at: weakref.ref[Secrets] | None = None
        self._with_own: Secrets | None = None

    @property
    def secrets(self) -> Secrets:
        """Another object after each change."""
        if (changed := self._changed()) is not None:
            self._lately.put_in(changed)
        known = self._lately.secrets
        if self._looked_at is None or self._looked_at() is not known:
            self._looked_at = weakref.ref(known)
            both = known.and_also(self.own)
            self._with_own = None if both is known else both
        return self._with_own or known
