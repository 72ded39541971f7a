"""What `make soak` finds is found: it would say so if something leaked or was decided wrongly."""

import asyncio
import os
import re
import signal
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from gateway.domain.keys.key import compose
from gateway.domain.settings import StoreSettings
from tests.chaos.calls import LOST, OK, Call
from tests.chaos.site import missing_tools
from tests.cli.crews import crew
from tests.cli.serving import REPOSITORY, environment
from tests.flows.world import PEPPER
from tests.soak.kinds import CUT
from tests.soak.ledger import Held, Ledger
from tests.soak.stalls import EVERY_SECONDS, MOST_SECONDS, Look, Pause, Stall, stalls, stalls_of
from tests.soak.watch import Samples

KEY = compose("live", "4xT9mQ2LrB7c", "x" * 32)
DYING, DEAD = 10.0, 12.0
SCHEDULED = Path("/proc/self/schedstat")


@pytest.mark.parametrize(
    ("outcome", "began", "kind", "counted"),
    [
        (OK, 11.9, "JSON", "ok"),
        (OK, 12.1, "JSON", "wrongly admitted"),
        (OK, 1.0, "stranger", "wrongly admitted"),
        ("key_invalid", 1.0, "stranger", "denied"),
        ("key_invalid", 1.0, "JSON", "wrongly refused"),
        ("key_revoked", 10.5, "JSON", "ended"),
        (CUT, 10.5, "SSE", "ended"),
        (CUT, 1.0, "SSE", "failed: cut, for no reason"),
        (LOST, 1.0, "JSON", "failed: lost, for no reason"),
        ("store_unavailable", 1.0, "JSON", "failed: store_unavailable, for no reason"),
        ("store_unavailable", 6.0, "JSON", "failed: store_unavailable, Redis restarting"),
        ("concurrency_limited", 1.0, "JSON", "wrongly refused"),
        ("internal", 6.0, "JSON", "wrongly refused"),
    ],
)
def test_a_call_is_judged_by_what_was_true_while_it_ran(
    outcome: str, began: float, kind: str, counted: str
) -> None:
    ledger = Ledger(away=[(5.5, 6.5)])
    held = Held(KEY, few=False, dying=DYING, dead=DEAD)
    ledger.judge(kind, held, Call(0, began, began + 0.1, outcome))
    tally = ledger.tallies[kind]
    found = {
        "ok": tally.ok,
        "denied": tally.denied,
        "ended": tally.ended,
        "wrongly admitted": ledger.wrongly_admitted.total(),
        "wrongly refused": ledger.wrongly_refused.total(),
        **{f"failed: {cause}": number for cause, number in ledger.failed.items()},
    }
    assert {name for name, number in found.items() if number} == {counted}
    assert ledger.unexplained == counted.endswith("no reason")


@pytest.mark.parametrize(
    ("waited", "pauses", "own"),
    [
        (0.0, [], 0.2),
        (0.15, [], 0.05),
        (0.0, [(9.9, 0.2)], 0.0),
        (0.0, [(9.9, 0.12), (9.9, 0.13)], 0.0),
        (0.0, [(3.0, 5.0), (11.0, 1.0)], 0.2),
    ],
)
def test_a_loop_is_late_by_its_own_doing_where_the_machine_had_no_cause(
    waited: float, pauses: list[Pause], own: float
) -> None:
    looks = [
        *(Look(9.5, 10, 0, 0.01, 5.0), Look(9.9, 11, 0, 0.01, 5.0)),
        *(Look(10.0, 11, 0, 0.01, 5.0), Look(10.1, 12, 1, 0.21, 5.0 + waited)),
        Look(10.2, 12, 1, 0.21, 9.0),
    ]
    (stall,) = stalls(looks, pauses)
    assert stall.lag == pytest.approx(0.2)
    assert stall.own == pytest.approx(own)


def test_memory_that_grows_by_so_much_an_hour_is_said_to() -> None:
    grows = Samples("w", 1, [0.0, 60.0, 120.0, 180.0], [500, 100, 110, 120], [])
    assert grows.slope(60.0) == pytest.approx(600)
    assert Samples("w", 1, [0.0, 60.0, 120.0], [7, 7, 7], []).slope(0.0) == 0


@pytest.mark.skipif(
    bool(missing_tools()) and not os.environ.get("GATEWAY_REQUIRE_TOOLS"), reason=missing_tools()
)
async def test_a_short_run_holds_and_ends_with_its_table() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak"),
        cwd=REPOSITORY,
        # How late loops may be is a question for a quiet machine, and no run of tests is one.
        env=environment(
            SOAK_SECONDS="6", SOAK_WORKERS="2", SOAK_CALLERS="1", SOAK_LATE_SECONDS="2"
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, out + err
    told = out.decode()
    assert "gateway 2, worker 2" in told
    for sentence in ("Redis restarted 1", "wrongly admitted: 0", "wrongly refused: 0"):
        assert sentence in told
    assert "leases left: 0 held by workers, 0 kept in Redis" in told
    assert re.search(r"^event loops: [1-9]\d* beats", told, re.MULTILINE)


@pytest.mark.skipif(not SCHEDULED.is_file(), reason="who waited for a core is seen in /proc only")
async def test_a_loop_that_is_held_up_is_told_from_a_machine_that_is(
    store: StoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("version: 1\n")
    settings = {"GATEWAY_REDIS_URL": store.url or "", "GATEWAY_PEPPER": b64encode(PEPPER).decode()}

    def long() -> list[Stall]:
        """Of the first worker. On a machine that is busy there are others, too."""
        looks = loops.looks[made.pids[0]]
        return [stall for stall in stalls(looks, loops.pauses) if stall.lag > 0.7]

    async def stalled(*pids: int) -> Stall:
        """All of these stand still for a while."""
        before = len(long())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.0)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            while len(long()) == before:
                await asyncio.sleep(EVERY_SECONDS)
        return long()[-1]

    async with (
        crew(workers=2, folder=tmp_path, settings=settings) as made,
        stalls_of(made.pids) as loops,
    ):
        alone = await stalled(made.pids[0])
        assert alone.own > MOST_SECONDS
        assert any("an event loop was late by" in line for line in loops.violations())
        await stalled(made.pids[0], loops.control)
        async with asyncio.timeout(10):
            while not any(late > 0.7 for _, late in loops.pauses):
                await asyncio.sleep(EVERY_SECONDS)
        assert long()[-1].own < MOST_SECONDS
