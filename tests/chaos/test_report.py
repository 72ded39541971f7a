"""What `make chaos` counts is counted: it would say so if something went wrong."""

import asyncio
import os
import sys

import pytest

from tests.chaos import proofs
from tests.chaos.calls import Call, recovery
from tests.chaos.report import Report, table
from tests.chaos.site import missing_tools
from tests.cli.serving import REPOSITORY, environment


def test_a_request_without_an_answer_is_lost_unless_its_worker_was_just_killed() -> None:
    calls = [Call(0, 1.0, 1.1, "ok"), Call(0, 4.9, 5.2, "lost"), Call(1, 9.0, 9.1, "lost")]
    report = Report("x")
    report.count(calls, cuts=[5.0])
    report.close()
    assert (report.sent, report.admitted, report.cut, report.lost) == (3, 1, 1, 1)
    assert report.violations == ["1 lost"]
    assert "VIOLATION in x: 1 lost" in table([report])


def test_whoever_is_wrongly_admitted_or_strangely_refused_is_a_violation() -> None:
    report = Report("x")
    report.count([Call(0, 1.0, 1.1, "internal"), Call(0, 1.0, 1.1, "key_invalid")])
    report.wrong += 1
    report.expect("key_invalid")
    report.close()
    assert report.violations == [
        "refused without a reason: {'internal': 1}",
        "1 wrongly admitted",
    ]


def test_the_table_fits_a_terminal_however_many_codes_there_were() -> None:
    report = Report("a scenario with a long name", sent=1_000_000, admitted=100_000)
    report.refused.update({f"some_code_{number}": 100_000 for number in range(5)})
    lines = list(table([report]))
    assert max(map(len, lines[:2])) <= 100
    assert (
        "a scenario with a long name: refused with some_code_0 100000, some_code_1 100000"
        in (lines[2])
    )


def test_recovery_is_over_when_every_caller_was_admitted_again() -> None:
    calls = [Call(0, 1.0, 1.5, "ok"), Call(0, 2.0, 2.1, "ok"), Call(1, 1.0, 1.2, "lost")]
    assert recovery(calls, 2.0) == float("inf")
    calls.append(Call(1, 3.0, 3.5, "ok"))
    assert recovery(calls, 2.0) == 1.5
    report = Report("x")
    report.recovered(6.0, bound=5.0)
    assert report.violations


def test_a_flood_that_slows_good_traffic_is_a_violation_unless_the_machine_does_too() -> None:
    def calls(p99: float) -> list[Call]:
        return [Call(0, 0.0, 0.001, "ok")] * 90 + [Call(0, 0.0, p99, "ok")] * 10

    for quiet, loud, violated in (
        ((0.01, 0.01), 0.015, False),
        ((0.01, 0.01), 0.03, True),
        ((0.01, 0.03), 0.09, False),
    ):
        report = Report("x")
        proofs._judge_p99([(calls(one), calls(loud)) for one in quiet], report)
        assert bool(report.violations) is violated
        assert "times" in report.remarks[0]


@pytest.mark.skipif(
    bool(missing_tools()) and not os.environ.get("GATEWAY_REQUIRE_TOOLS"), reason=missing_tools()
)
async def test_a_short_run_holds_and_ends_with_its_table() -> None:
    settings = environment(
        CHAOS_SCALE="0.1",
        CHAOS_WORKERS="2",
        CHAOS_ONLY="quotas,revocations,restart",
        CHAOS_FLEET="2",
        CHAOS_KEYS="100",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos"),
        cwd=REPOSITORY,
        env=settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, out + err
    told = out.decode().split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in told[1:4]] == [
        "quota, exact",
        "revocation under load",
        "restart, 2 workers",
    ]
