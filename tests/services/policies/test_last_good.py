"""What is kept of the policies in force is what a worker that comes later begins with."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.services.policies import last_good
from gateway.services.policies.directory import read_directory
from gateway.services.policies.last_good import LastGoodPolicies

TEXT = "version: 1\nagents: {{a: {{upstream: 'http://127.0.0.1:{}'}}}} # ä 漢\n"


def test_what_is_kept_is_read_again_as_it_was(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for port in (1, 2):
        (policies / "a.yaml").write_text(TEXT.format(port))
        loaded = read_directory(policies)
        LastGoodPolicies(tmp_path).save(loaded.files)
        assert loaded.policies is not None and LastGoodPolicies(tmp_path).load() == loaded.policies
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["policies.json"]


def test_nothing_is_in_force_where_nothing_was_kept(tmp_path: Path) -> None:
    assert LastGoodPolicies(tmp_path).load() is None


def test_what_needs_something_that_is_gone_is_in_force_no_more(tmp_path: Path) -> None:
    text = "version: 1\nagents: {a: {upstream: {url: 'https://x.example', ca: gone.pem}}}\n"
    LastGoodPolicies(tmp_path).save({str(tmp_path / "a.yaml"): text.encode()})
    assert LastGoodPolicies(tmp_path).load() is None


def test_policies_are_taken_also_where_they_cannot_be_kept(tmp_path: Path) -> None:
    with capture_logs() as logs:
        LastGoodPolicies(tmp_path / "gone").save({"a.yaml": b""})
    assert [event["reason"] for event in logs] == ["No such file or directory"]


async def test_what_there_was_no_room_for_is_kept_once_there_is_and_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_good, "RETRY_SECONDS", 0.05)
    saved, folder = LastGoodPolicies(tmp_path / "later"), tmp_path / "later"
    going_on = asyncio.create_task(saved.retry())
    with capture_logs() as logs:
        for port in (1, 2):
            saved.save({"a.yaml": TEXT.format(port).encode()})
        await asyncio.sleep(0.2)
        folder.mkdir()
        async with asyncio.timeout(10):
            while (found := saved.load()) is None:
                await asyncio.sleep(0.01)
    going_on.cancel()
    assert found.agents["a"].upstreams[0].port == 2
    assert [event["event"] for event in logs] == [*["policies_not_kept"] * 2, "policies_kept"]


def test_where_the_newest_cannot_be_kept_those_before_are_not_begun_with(tmp_path: Path) -> None:
    LastGoodPolicies(tmp_path).save({"a.yaml": TEXT.format(1).encode()})
    assert LastGoodPolicies(tmp_path).load() is not None
    # No room for a draft.
    (tmp_path / f"policies.json.{os.getpid()}").mkdir()
    LastGoodPolicies(tmp_path).save({"a.yaml": TEXT.format(2).encode()})
    assert LastGoodPolicies(tmp_path).load() is None
