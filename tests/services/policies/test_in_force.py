"""What is kept of the policies in force is what a worker that comes later begins with."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.services.policies import in_force
from gateway.services.policies.directory import read_directory
from gateway.services.policies.in_force import Keeping, keep, kept

TEXT = "version: 1\nagents: {{a: {{upstream: 'http://127.0.0.1:{}'}}}} # ä 漢\n"


def test_what_is_kept_is_read_again_as_it_was(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for port in (1, 2):
        (policies / "a.yaml").write_text(TEXT.format(port))
        loaded = read_directory(policies)
        keep(tmp_path, loaded.files)
        assert loaded.policies is not None and kept(tmp_path) == loaded.policies
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["policies.json"]


def test_nothing_is_in_force_where_nothing_was_kept(tmp_path: Path) -> None:
    assert kept(tmp_path) is None


def test_what_needs_something_that_is_gone_is_in_force_no_more(tmp_path: Path) -> None:
    text = "version: 1\nagents: {a: {upstream: {url: 'https://x.example', ca: gone.pem}}}\n"
    keep(tmp_path, {str(tmp_path / "a.yaml"): text.encode()})
    assert kept(tmp_path) is None


def test_policies_are_taken_also_where_they_cannot_be_kept(tmp_path: Path) -> None:
    assert keep(tmp_path / "gone", {"a.yaml": b""}) == "No such file or directory"


async def test_what_there_was_no_room_for_is_kept_once_there_is_and_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_force, "AGAIN_SECONDS", 0.05)
    keeping, folder = Keeping(tmp_path / "later"), tmp_path / "later"
    going_on = asyncio.create_task(keeping.keep_on())
    with capture_logs() as logs:
        for port in (1, 2):
            keeping.take({"a.yaml": TEXT.format(port).encode()})
        await asyncio.sleep(0.2)
        folder.mkdir()
        async with asyncio.timeout(10):
            while (found := kept(folder)) is None:
                await asyncio.sleep(0.01)
    going_on.cancel()
    assert found.agents["a"].upstreams[0].port == 2
    assert [event["event"] for event in logs] == [*["policies_not_kept"] * 2, "policies_kept"]


def test_where_the_newest_cannot_be_kept_those_before_are_not_begun_with(tmp_path: Path) -> None:
    keep(tmp_path, {"a.yaml": TEXT.format(1).encode()})
    assert kept(tmp_path) is not None
    # No room for a draft.
    (tmp_path / f"policies.json.{os.getpid()}").mkdir()
    keep(tmp_path, {"a.yaml": TEXT.format(2).encode()})
    assert kept(tmp_path) is None
