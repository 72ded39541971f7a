"""A disk that gives no answer is told of, and holds up one thread."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.services.policies import reading
from gateway.services.policies.directory import read_directory
from gateway.services.policies.reading import Reading
from gateway.tasks import threads
from tests.hanging import hanging

PATIENCE = 10.0


async def test_of_many_who_ask_one_waits_for_the_disk_also_after_some_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SILENT_SECONDS", 0.05)
    asyncio.get_running_loop().set_default_executor(threads(2, "beside"))
    (tmp_path / "a.yaml").write_text("version: 1\n")
    read, told = Reading(tmp_path), asyncio.Queue[bool]()
    read.unread = told.put_nowait
    with capture_logs() as logs:
        with hanging(tmp_path / "a.yaml"):
            asking = [asyncio.create_task(read(read_directory, tmp_path)) for _ in range(5)]
            async with asyncio.timeout(PATIENCE):
                assert await told.get() and read.silent
                asking.pop(0).cancel()
                # Those who come next would have all threads.
                await asyncio.sleep(0)
                await asyncio.to_thread(int)
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*asking)
            assert not await told.get() and not read.silent
    assert all(one.policies is not None for one in found)
    assert [one["event"] for one in logs] == ["policies_unread", "policies_read_again"]


async def test_that_a_disk_gives_no_answer_is_told_though_nobody_who_asked_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SILENT_SECONDS", 0.05)
    (tmp_path / "a.yaml").write_text("version: 1\n")
    read, told = Reading(tmp_path), asyncio.Queue[bool]()
    read.unread = told.put_nowait
    with hanging(tmp_path / "a.yaml"):
        asking = asyncio.create_task(read(read_directory, tmp_path))
        await asyncio.sleep(0)
        asking.cancel()
        async with asyncio.timeout(PATIENCE):
            assert await told.get() and read.silent
    async with asyncio.timeout(PATIENCE):
        assert not await told.get() and not read.silent
