"""Choose among an agent's upstreams: the least busy one that has not just failed."""

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
    """What this process knows of one upstream.

    `busy`: requests under way or waiting for a connection; `answering`: those of them whose answer
    has begun. `failures`: in a row. `out_until`: ejected until this time (monotonic seconds), and
    asked before only if no other upstream is left.
    """

    busy: int = 0
    answering: int = 0
    failures: int = 0
    out_until: float = 0.0

    @property
    def waiting(self) -> int:
        """The number of requests that wait for an answer to begin."""
        return self.busy - self.answering

    @contextmanager
    def answers(self) -> Iterator[None]:
        """Count one of the `busy` requests as answering within this context."""
        self.answering += 1
        try:
            yield
        finally:
            self.answering -= 1

    def succeeded(self) -> None:
        """Note a success, which resets the failures."""
        if self.failures:
            self.failures, self.out_until = 0, 0.0

    def failed(self, now: float) -> None:
        """Note a failure. Three in a row eject the upstream for 5 s; after that each further one
        ejects it again, twice as long each time, up to a minute."""
        self.failures += 1
        if self.failures >= FAILURES_TO_EJECT:
            ejections = self.failures - FAILURES_TO_EJECT + 1
            self.out_until = now + pause_after(ejections, FIRST_EJECTION, LONGEST_EJECTION)


class Balance:
    """The health of every upstream, and the order to ask them in. `clock`: monotonic seconds."""

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
        """Return the number of requests that wait for an answer of one of these."""
        return sum(self.health(upstream).waiting for upstream in upstreams)

    def order(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """Return the upstreams in the order in which to try them. Ejected ones come last, the one
        whose ejection ends first before the others."""
        if len(upstreams) == 1:
            return upstreams
        now = self.clock()
        self._turn += 1
        start = self._turn % len(upstreams)
        # Rotating the list spreads the load among equally busy upstreams: `sorted` is stable.
        turned = [*upstreams[start:], *upstreams[:start]]
        return sorted(turned, key=lambda upstream: self._rank(upstream, now))

    def _rank(self, upstream: Upstream, now: float) -> tuple[float, int]:
        health = self.health(upstream)
        return (health.out_until if health.out_until > now else 0.0, health.busy)
