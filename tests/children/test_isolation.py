"""A child gets at nothing of the gateway's, nor of another user's child, whoever runs them."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.children.isolation import find_isolation
from gateway.domain.children import Isolation
from gateway.domain.errors import OperationError
from tests.children.programs import REPOSITORY, as_ordinary_user, needs, python

THIEF = Path(__file__).parent / "thief.py"
# The gateway of the test: it holds a secret, runs a child of one user, and a thief as another's.
SITE = """
import asyncio, json, os, sys
from pathlib import Path
from gateway.children.isolation import find_isolation
from gateway.children.process import Launcher
from gateway.cli.privacy import keep_private
from gateway.domain.children import ChildSettings, Isolation, Program

def runs(pid, argv):
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        # It has ended.
        return False
    return line == "".join(word + "\\0" for word in argv).encode()

async def main(isolation, folder, secret, python):
    folder = Path(folder)
    state = folder / "state"
    state.mkdir(mode=0o700)
    key = folder / "master.key"
    key.write_text(secret)
    key.chmod(0o600)
    # What a hidden file was rotated into, as the audit's is.
    old = folder / "master.key.000000001"
    old.write_text(secret)
    old.chmod(0o600)
    (state / "pepper").write_text(secret)
    os.environ["GATEWAY_SECRET"] = held = secret
    keep_private()
    settings = ChildSettings(state_dir=state, hidden=(state, key))
    launcher = Launcher(settings, find_isolation(Isolation(isolation)))
    more = dict(readable=(str(folder),), env={"TOKEN": secret})
    sleep = (python, "-c", "import os, time; open('mine', 'w').write(os.environ['TOKEN']); "
             "print(os.getpid(), flush=True); time.sleep(600)", f"u1 in {folder}")
    other = await launcher.start(Program(sleep, "fc" + chr(0) + "u1", **more))
    pid = int(await other.stdout.readline())
    if isolation == "bubblewrap":
        # In its sandbox it has another number.
        (pid,) = (p for p in filter(str.isdigit, os.listdir("/proc")) if runs(p, sleep))
    thief = (python, str(folder / "thief.py"), str(os.getpid()), str(pid), secret,
             str(key), str(old), str(state), str(state / "pepper"))
    found = await launcher.start(Program(thief, "fc" + chr(0) + "u2", readable=(str(folder),)))
    out, err = await asyncio.gather(found.stdout.read(), found.stderr.read())
    await found.wait()
    other.kill()
    await other.wait()
    print(out.decode() or err.decode())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        shutil.copy(THIEF, name)
        yield Path(name)


def stolen(isolation: Isolation, folder: Path, *, ordinary: bool) -> list[str]:
    """What the thief got. `ordinary`: of a gateway that is not root."""
    if ordinary and os.geteuid() == 0:
        os.chown(folder, 65_534, 65_534)
    program = python() if ordinary and os.geteuid() == 0 else sys.executable
    ended = subprocess.run(
        [program, "-c", SITE, isolation.value, str(folder), secrets.token_hex(16), python()],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=as_ordinary_user if ordinary else None,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    found: list[str] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("isolation", [Isolation.UID, Isolation.BUBBLEWRAP])
def test_a_hostile_tool_of_roots_gateway_gets_nothing(isolation: Isolation, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is about a gateway that runs as root")
    needs(isolation)
    assert stolen(isolation, folder, ordinary=False) == []


def test_a_hostile_tool_of_an_ordinary_users_gateway_gets_nothing(folder: Path) -> None:
    needs(Isolation.BUBBLEWRAP)
    assert stolen(Isolation.BUBBLEWRAP, folder, ordinary=True) == []


def test_the_thief_knows_its_trade(folder: Path) -> None:
    """Without isolation it gets what the others keep from it."""
    found = stolen(Isolation.NONE, folder, ordinary=True)
    assert {"child: environment", "child: memory", "gateway: end", "child: end"} <= set(found)
    assert any(one.startswith("read ") for one in found)
    assert any(one.startswith("home ") for one in found)


def test_what_is_asked_for_and_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OperationError, match=r"bwrap.* is not installed"):
        find_isolation(Isolation.BUBBLEWRAP)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(OperationError, match="Only root"):
        find_isolation(Isolation.UID)
    assert find_isolation(None) is Isolation.NONE


def test_a_sandbox_that_does_not_come_up_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = tmp_path / "bwrap"
    fails.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2; exit 1"
    )
    fails.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperationError, match="No permissions to create"):
        find_isolation(Isolation.BUBBLEWRAP)


def test_where_no_folder_can_be_made_for_its_trial_there_is_no_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(Isolation.BUBBLEWRAP)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OperationError, match=r"bubblewrap does not run: .*No such file"):
        find_isolation(Isolation.BUBBLEWRAP)
