"""Policies with programs are taken only where these are kept apart, or nobody could reach them."""

import sys
from pathlib import Path

import pytest

from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.policy.read import read_policies
from gateway.services.tools.program_vet import ProgramVet
from gateway.services.tools.usable_commands import unusable_commands
from tests.children.programs import needs

PROGRAMS = b"""
version: 1
tools:
  files: {transport: stdio, command: [x]}
  fc: {transport: command, tools: [{name: a, argv: [ls]}]}
"""
HTTP = b"version: 1\ntools:\n  web: {transport: http, upstream: 'http://127.0.0.1/mcp'}\n"


def policies(text: bytes = PROGRAMS) -> Policies:
    loaded = read_policies({"p.yaml": text})
    assert loaded.policies is not None, loaded.problems
    return loaded.policies


def vet(settings: ChildSettings) -> tuple[ProgramVet, Launcher]:
    launcher = Launcher(settings)
    return ProgramVet(settings, launcher), launcher


async def test_without_programs_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    settings = ChildSettings(Isolation.BUBBLEWRAP, exposed=True)
    found, launcher = vet(settings)
    assert await found.problems(policies(HTTP)) == () and launcher.isolation is None


async def test_an_isolation_that_cannot_be_had_is_a_problem_of_each_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found, launcher = vet(ChildSettings(Isolation.BUBBLEWRAP, state_dir=tmp_path))
    told = [str(problem) for problem in await found.problems(policies())]
    assert [one.partition(": ")[0] for one in told] == ["p.yaml:4:3", "p.yaml:5:3"]
    assert "not installed" in told[0] and launcher.isolation is None


async def test_no_isolation_will_do_on_loopback_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = ChildSettings(Isolation.NONE, state_dir=tmp_path)
    found, launcher = vet(settings)
    assert await found.problems(policies()) == () and launcher.isolation is Isolation.NONE
    exposed, kept = vet(ChildSettings(Isolation.NONE, state_dir=tmp_path, exposed=True))
    assert len(await exposed.problems(policies())) == 2 and kept.isolation is None


async def test_where_user_ids_cannot_be_kept_programs_are_refused_before_they_run(
    tmp_path: Path,
) -> None:
    needs(Isolation.UID)
    (tmp_path / "file").write_text("")
    found, launcher = vet(ChildSettings(Isolation.UID, state_dir=tmp_path / "file" / "state"))
    told = await found.problems(policies())
    assert "cannot be kept" in str(told[0]) and launcher.isolation is None


async def test_a_key_file_that_became_a_link_to_itself_is_open_to_nobody(tmp_path: Path) -> None:
    loop = tmp_path / "key"
    loop.symlink_to(loop)
    found, launcher = vet(ChildSettings(Isolation.UID, state_dir=tmp_path, hidden=(loop,)))
    launcher.isolation = Isolation.UID
    assert await found.problems(policies()) == ()


def test_commands_without_the_extra_are_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.services.tools.command_server", None)
    (problem,) = unusable_commands(policies())
    assert str(problem).startswith("p.yaml:5:3: ") and "[tools]" in str(problem)
    assert unusable_commands(policies(HTTP)) == ()
