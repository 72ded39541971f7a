"""Which of an agent's upstreams is asked: the least busy one that has not just failed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.backoff import pause_after
from gateway.domain.policies.snapshot import Upstream

FAILURES_TO_EJECT = 3
FIRST_EJECTION = 5.0
LONGEST_EJECTION = 60.0


@dataclass(slots=True)
class Health:
    """What this process has seen of one upstream.

    `busy`: requests under way, and those that wait for a connection; `answering`: those of which
    the answer has begun, and goes on. `failures` in a row. `out_until`: not asked before this
    (monotonic seconds), unless nobody else is left.
    """

    busy: int = 0
    answering: int = 0
    failures: int = 0
    out_until: float = 0.0

    @property
    def waiting(self) -> int:
        """How many requests wait for its answer."""
        return self.busy - self.answering

    @contextmanager
    def answers(self) -> Iterator[None]:
        """While one that is `busy` goes on with an answer."""
        self.answering += 1
        try:
            yield
        finally:
            self.answering -= 1

    def succeeded(self) -> None:
        """One success forgives all."""
        if self.failures:
            self.failures, self.out_until = 0, 0.0

    def failed(self, now: float) -> None:
        """Three failures in a row leave it out for 5 s. Then one is enough to leave it out
        again, twice as long each time, up to a minute."""
        self.failures += 1
        if self.failures >= FAILURES_TO_EJECT:
            ejections = self.failures - FAILURES_TO_EJECT + 1
            self.out_until = now + pause_after(ejections, FIRST_EJECTION, LONGEST_EJECTION)


class Balance:
    """The health of every upstream, and whom to ask next. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._health: dict[Upstream, Health] = {}
        self._turn = 0

    def health(self, upstream: Upstream) -> Health:
        health = self._health.get(upstream)
        if health is None:
            health = self._health[upstream] = Health()
        return health

    def waiting(self, upstreams: Sequence[Upstream]) -> int:
        """How many requests wait for the answer of one of these."""
        return sum(self.health(upstream).waiting for upstream in upstreams)

    def order(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """Whom to ask first, and whom next where a connection cannot be had. Never empty: where
        all have failed, the one whose time comes first is asked."""
        if len(upstreams) == 1:
            return upstreams
        now = self.clock()
        self._turn += 1
        start = self._turn % len(upstreams)
        # Turning the list spreads the load where all are equally busy.
        turned = [*upstreams[start:], *upstreams[:start]]
        return sorted(turned, key=lambda upstream: self._rank(upstream, now))

    def _rank(self, upstream: Upstream, now: float) -> tuple[float, int]:
        health = self.health(upstream)
        return (health.out_until if health.out_until > now else 0.0, health.busy)
