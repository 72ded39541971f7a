"""Lines that several processes write into one pipe stay whole, and take only so much memory."""

import asyncio
import json
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.domain.errors import Code, Denied
from gateway.domain.traffic import unreadable
from gateway.services.telemetry import access_log
from gateway.services.telemetry.access_lines import as_line_of_json
from gateway.services.telemetry.access_log import AccessLog, pieces

LINES = st.lists(st.binary(min_size=1, max_size=60).map(lambda text: text + b"\n"), max_size=40)


@given(LINES, st.integers(1, 100))
def test_pieces_are_whole_lines_in_order_and_small_enough_to_be_written_at_once(
    lines: list[bytes], most: int
) -> None:
    made = list(pieces(lines, most))
    assert b"".join(made) == b"".join(lines)
    left = list(lines)
    for piece in made:
        taken = [left.pop(0)]
        while b"".join(taken) != piece:
            taken.append(left.pop(0))
        assert len(piece) <= most or len(taken) == 1


async def test_lines_that_wait_to_be_written_are_bounded_and_those_dropped_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "MAX_WAITING", 10)
    handled = unreadable("req_1", Denied(Code.BAD_REQUEST), sent=1, at=0.0)
    log = AccessLog(tmp_path / "access.log", as_json=True)
    with capture_logs() as told:
        for _ in range(5):
            log.add([handled] * 6)
        await log.close()
    assert (tmp_path / "access.log").read_bytes().count(b"\n") == 10
    assert [(one["event"], one["count"]) for one in told] == [("access_lines_dropped", 20)]


async def test_after_a_full_disk_each_line_is_a_line_again_and_those_dropped_are_counted(
    tmp_path: Path,
) -> None:
    """A line that the disk took in part was one with the next, which was lost with it."""
    handled = unreadable("req_1", Denied(Code.BAD_REQUEST), sent=1, at=0.0)
    size = len(as_line_of_json(handled))
    log = AccessLog(tmp_path / "access.log", as_json=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capture_logs() as told:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 30 + size // 2, before[1]))
        try:
            log.add([handled] * 60)
            async with asyncio.timeout(60):
                while "access_lines_dropped" not in [one["event"] for one in told]:
                    await asyncio.sleep(0.02)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.add([handled] * 60)
        await log.close()
    lines = (tmp_path / "access.log").read_bytes().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["req_1"] * (31 + 60)
    assert [one["count"] for one in told if one["event"] == "access_lines_dropped"] == [29]
