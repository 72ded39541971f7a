"""Connections are shared among the workers, those that come all at once too."""

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest

from gateway.domain.settings import StoreSettings
from tests.cli.crews import Crew, crew
from tests.flows.world import PEPPER

ROUNDS, AT_ONCE = 3, 32
# Of a machine that has something else to do, one worker may be asleep all the while.
ATTEMPTS = 5
ESTABLISHED = "01"


async def opened_at_once(made: Crew) -> list[int]:
    """How many of so many connections each worker has taken; all are answered."""
    connections = await asyncio.gather(*(made.served.connect() for _ in range(AT_ONCE)))
    answers = await asyncio.gather(*(one.get("/livez") for one in connections))
    assert {answer.status for answer in answers} == {200}
    taken = [accepted(pid, made.served.data[1]) for pid in made.pids]
    assert sum(taken) == AT_ONCE
    for one in connections:
        one.writer.close()
    async with asyncio.timeout(10):
        while any(accepted(pid, made.served.data[1]) for pid in made.pids):
            await asyncio.sleep(0.02)
    return taken


def accepted(pid: int, port: int) -> int:
    """How many connections to this port are open in this process."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED}
    files = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(f"socket:[{inode}]" in files for inode in ours)


async def test_of_connections_that_come_at_once_no_worker_takes_nearly_all(
    store: StoreSettings, tmp_path: Path
) -> None:
    if not Path("/proc/net/tcp").is_file():
        pytest.skip("who took a connection is seen in /proc only")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("version: 1\n")
    settings = {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        "GATEWAY_ACCESS_LOG": "off",
    }
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        seen = []
        for _ in range(ATTEMPTS):
            taken = [await opened_at_once(made) for _ in range(ROUNDS)]
            seen.append(min(sum(turn) for turn in zip(*taken, strict=True)))
            if seen[-1] >= ROUNDS * AT_ONCE / 5:
                break
        assert seen[-1] >= ROUNDS * AT_ONCE / 5, seen
