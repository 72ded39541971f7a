"""Counting many requests at once says the same as counting them one after the other."""

from dataclasses import dataclass
from itertools import pairwise
from math import inf, nextafter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.parser import text_string_to_metric_families

from gateway.domain.traffic import Handled
from gateway.services.telemetry.traffic import ADMISSION_SECONDS, Shared, Traffic

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def handled(
    agent: str = "echo", status: int = 200, code: str = "", admission: float | None = None
) -> Handled:
    return Handled(
        at=0.0,
        request_id="r",
        method="GET",
        path="/",
        agent=agent,
        key_id="",
        consumer="",
        status=status,
        code=code,
        cut=False,
        received=0,
        sent=0,
        admission=admission,
        first_byte=None,
        total=0.0,
    )


def samples(text: bytes) -> Samples:
    """By name and labels; without what tells when something began."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@dataclass
class Plain:
    """The library, asked once for each request."""

    registry: CollectorRegistry

    def count(self, batch: list[Handled]) -> None:
        requests = Counter("gateway_requests", "", ("agent", "status"), registry=self.registry)
        denials = Counter("gateway_denials", "", ("code",), registry=self.registry)
        admission = Histogram(
            "gateway_admission_seconds", "", buckets=ADMISSION_SECONDS, registry=self.registry
        )
        for one in batch:
            kind = f"{one.status // 100}xx" if one.status else "gone"
            requests.labels(one.agent or "none", kind).inc()
            if one.code:
                denials.labels(one.code).inc()
            if one.admission is not None:
                admission.observe(one.admission)


# On a bound, and as little as can be beside it.
EDGES = [nextafter(b, to) for b in ADMISSION_SECONDS for to in (0.0, b, inf)]
TIMES = st.one_of(st.none(), st.sampled_from([*EDGES, 0.0, inf]), st.floats(0, 10, allow_nan=False))
REQUESTS = st.builds(
    handled,
    agent=st.sampled_from(["", "echo", "chat"]),
    status=st.sampled_from([0, 101, 200, 204, 304, 401, 404, 429, 500, 502]),
    code=st.sampled_from(["", "key_missing", "not_found"]),
    admission=TIMES,
)


@given(st.lists(REQUESTS, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_batches_of_any_size_count_what_the_library_counts_one_by_one(
    requests: list[Handled], cuts: list[int]
) -> None:
    plain, traffic = Plain(CollectorRegistry()), Traffic()
    plain.count(requests)
    places = sorted({0, *cuts, len(requests)})
    for begin, end in pairwise(places):
        traffic.count(requests[begin:end])
    expected = samples(generate_latest(plain.registry))
    counted = samples(traffic.exposition())
    for at, value in expected.items():
        assert counted[at] == pytest.approx(value), at
    ours = {at for at in counted if at[0].startswith(("gateway_requests", "gateway_denials"))}
    assert ours <= set(expected), "nothing is counted besides"


@pytest.mark.parametrize("bound", ADMISSION_SECONDS)
def test_a_time_on_a_bound_is_below_it(bound: float) -> None:
    traffic = Traffic()
    traffic.count([handled(admission=bound)])
    counted = samples(traffic.exposition())
    for other in ADMISSION_SECONDS:
        at = "gateway_admission_seconds_bucket", (("le", str(other)),)
        assert counted[at] == (other >= bound)


def test_nothing_handled_is_nothing_counted() -> None:
    traffic = Traffic()
    before = samples(traffic.exposition())
    traffic.count([])
    after = samples(traffic.exposition())
    for name in ("gateway_admission_seconds_count", "gateway_admission_seconds_sum"):
        assert before[name, ()] == after[name, ()] == 0


def test_a_worker_has_the_room_for_what_it_counts_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full by the first call of some agent killed the worker that counted it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    traffic = Traffic(Shared(tmp_path, 0))
    begun = _on_disk(tmp_path)
    assert all(size <= room for size, room in begun.values()), begun
    traffic.count(
        [handled(f"agents/{number}", status) for number in range(300) for status in (200, 403)]
    )
    assert _on_disk(tmp_path) == begun


def _on_disk(folder: Path) -> dict[str, tuple[int, int]]:
    """The size of each file, and what the disk has given for it."""
    found = ((path.name, path.stat()) for path in folder.iterdir())
    return {name: (one.st_size, one.st_blocks * 512) for name, one in found}
