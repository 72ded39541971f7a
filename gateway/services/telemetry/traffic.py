"""Metrics of the data plane. Labels come from closed sets: agents, codes, classes."""

import os
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, values
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.domain.traffic import Handled

# From a warm admission on loopback to a store that is about to be given up.
ADMISSION_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
# From one computation on a free core to a queue that is too long.
ARGON2_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# From a busy loop to one that is blocked for so long that callers give up.
LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# The digits of a revision that a float holds exactly.
REVISION_DIGITS = 12
# Of each of a worker's shared files: the counters of some thousand pairs of agent and status.
FILE_BYTES = 2**18
# As the library names them.
_FILES = (
    "counter",
    "histogram",
    *(f"gauge_{mode}" for mode in ("liveall", "livemax", "livemin", "livesum")),
)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOME = attrgetter("agent", "status")
_CODES = attrgetter("code", "shadow")
_ADMISSION = attrgetter("admission")


@dataclass(frozen=True, slots=True)
class Shared:
    """The files in which all workers count. `seat`: a number that no other living worker has.

    A worker continues the counters of the previous worker on its seat, so no sum ever falls, and
    there are no more files than workers that ran at the same time.
    """

    folder: Path
    seat: int


class _Make:
    """Makes metrics in one registry. With several workers a gauge is the `highest`, the `lowest` or
    the `total` of theirs, or has one value for `each`, with the seat as the label `pid`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counter = partial(Counter, registry=registry)
        self.timed = partial(Histogram, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.highest = partial(gauge, multiprocess_mode="livemax")
        self.lowest = partial(gauge, multiprocess_mode="livemin")
        self.total = partial(gauge, multiprocess_mode="livesum")
        self.each = partial(gauge, multiprocess_mode="liveall")


class Traffic:
    """Counts finished requests. `shared` None: this is the only process."""

    def __init__(self, shared: Shared | None = None) -> None:
        self._registry = CollectorRegistry()
        self._shown = self._registry
        if shared is None:
            ProcessCollector(registry=self._registry)
        else:
            self._shown = _join(shared)
        make = _Make(self._registry)
        self._of_requests(make)
        self._of_the_store(make)
        self._of_argon2(make)
        self._of_policies(make)
        self._of_credentials(make)
        self._of_the_audit(make)

    def _of_requests(self, make: _Make) -> None:
        self._requests = make.counter(
            "gateway_requests",
            "Requests, by agent and class of status; gone: the caller left before an answer.",
            ("agent", "status"),
        )
        self._denials = make.counter(
            "gateway_denials", "Requests that the gateway refused, by error code.", ("code",)
        )
        self._shadow_denials = make.counter(
            "gateway_shadow_denials",
            "Requests that a rule with `enforce: false` would have refused, by error code.",
            ("code",),
        )
        self._admission = make.timed(
            "gateway_admission_seconds",
            "From the request's head to its admission.",
            buckets=ADMISSION_SECONDS,
        )
        self.open_streams = make.total(
            "gateway_open_streams",
            "Answers and tunnels that are under way beyond their first piece.",
        )
        self.leases = make.total("gateway_leases", "Places of `concurrency` limits that are held.")
        self.tasks = make.each("gateway_tasks", "Tasks of the event loop of each worker.")
        self.loop_lag = make.timed(
            "gateway_loop_lag_seconds",
            "By how much the event loop was late, asked four times a second: all callers waited.",
            buckets=LAG_SECONDS,
        )

    def _of_the_store(self, make: _Make) -> None:
        self.store_seconds = make.timed(
            "gateway_store_seconds",
            "Of a round trip to Redis on the connection of admissions, asked every two seconds.",
            buckets=ADMISSION_SECONDS,
        )
        self.store_up = make.lowest(
            "gateway_store_up",
            "1 while Redis answers every worker; 0: requests that need it are refused.",
        )

    def _of_argon2(self, make: _Make) -> None:
        self.argon2_runs = make.counter(
            "gateway_argon2_runs",
            "Secrets that were computed with argon2, because no tag and no proof decided.",
        )
        self.argon2_seconds = make.timed(
            "gateway_argon2_seconds",
            "From the wish for an argon2 computation to its end, the wait for a thread included.",
            buckets=ARGON2_SECONDS,
        )
        self.argon2_under_way = make.total(
            "gateway_argon2_under_way",
            "Argon2 computations that run or wait; a worker refuses beyond 34.",
        )

    def _of_policies(self, make: _Make) -> None:
        self.policies_revision = make.each(
            "gateway_policies_revision",
            "Of the policies in force, its first 12 hexadecimal digits as a number.",
        )
        self._policy_reloads = make.counter(
            "gateway_policy_reloads",
            "Sets of policies that were read while serving, by outcome: loaded, refused.",
            ("outcome",),
        )
        self.policies_refused = make.highest(
            "gateway_policies_refused",
            "1 while the files hold a set that was refused, so that an older one is in force.",
        )
        self.policies_unread = make.highest(
            "gateway_policies_unread",
            "1 while the files of the policies give no answer, so that no change of them is seen.",
        )

    def _of_credentials(self, make: _Make) -> None:
        self.credentials = make.highest(
            "gateway_credentials",
            "Credentials in memory, by state: ok, expiring, expired, broken.",
            ("state",),
        )
        self.credentials_age = make.highest(
            "gateway_credentials_age_seconds", "Since the vault last answered."
        )
        self.reflected = make.counter(
            "gateway_credentials_reflected",
            "Answers of tools that held a credential which was put into the call.",
            ("agent",),
        )

    def _of_the_audit(self, make: _Make) -> None:
        self.audit_lost = make.counter(
            "gateway_audit_lost",
            "Audit records of refusals and of what tools answered that could not be written.",
        )
        self.audit_lag = make.highest(
            "gateway_audit_lag_seconds",
            "For how long the write of audit records that is under way has taken; 0: none is.",
        )
        self.canaries = make.counter(
            "gateway_canary_uses",
            "Uses of keys and credentials that are decoys: somebody has what nobody was given.",
        )

    def count(self, batch: Sequence[Handled]) -> None:
        """Count a batch: a hundred at once cost little more than one."""
        for (agent, status), number in Counted(map(_OUTCOME, batch)).items():
            kind = f"{status // 100}xx" if status else "gone"
            self._requests.labels(agent or "none", kind).inc(number)
        for (code, shadow), number in Counted(map(_CODES, batch)).items():
            if code:
                self._denials.labels(code).inc(number)
            if shadow:
                self._shadow_denials.labels(shadow).inc(number)
        _observe_all(self._admission, [t for t in map(_ADMISSION, batch) if t is not None])

    def policies_tried(self, *, taken: bool) -> None:
        """Count a set of policies that was read, and accepted or refused."""
        self._policy_reloads.labels("loaded" if taken else "refused").inc()
        self.policies_refused.set(0 if taken else 1)

    def exposition(self) -> bytes:
        return generate_latest(self._shown)


def _observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Do what `observe` does for each value, with one addition per bucket. The library has no
    public way to do so, and its `observe` took a twentieth of a request."""
    places = map(partial(bisect_left, histogram._upper_bounds), values)
    for place, number in Counted(places).items():
        histogram._buckets[place].inc(number)
    histogram._sum.inc(sum(values))


def _join(shared: Shared) -> CollectorRegistry:
    """Count in the shared files from now on; return a registry with the sums of all workers."""
    for kind in _FILES:
        _reserve(shared.folder / f"{kind}_{shared.seat}.db")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared.folder)
    values.ValueClass = values.MultiProcessValue(lambda: shared.seat)
    together = CollectorRegistry()
    MultiProcessCollector(together, str(shared.folder))
    return together


def _reserve(path: Path) -> None:
    """Give the file its room on the disk now: the kernel kills a process that counts in a part of
    its files for which a full disk has none."""
    with path.open("ab") as file:
        file.write(bytes(max(0, FILE_BYTES - file.tell())))


def forget_seat(folder: Path, seat: int) -> None:
    """Drop the live gauges of the worker on `seat`, which has ended; its counters stay."""
    mark_process_dead(seat, str(folder))
