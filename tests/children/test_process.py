"""A child gets what it is given and nothing else, and nothing of it is left."""

import asyncio
import os
import resource
import secrets
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.children import process
from gateway.children.process import Launcher
from gateway.domain.children import ChildLimits, Isolation, Program
from gateway.domain.errors import OperationError
from tests.children.programs import (
    REPOSITORY,
    as_ordinary_user,
    launcher_of,
    needs,
    processes,
    python,
    run,
)
from tests.until import until

# Leaves the session, the group and its parent.
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
time.sleep({seconds})
"""
BOMB = """
import os
print("begun", flush=True)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
"""
# A gateway that starts one child and then waits to be killed.
GATEWAY = """
import asyncio, sys
from pathlib import Path
from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings, Isolation, Program

async def main():
    launcher = Launcher(ChildSettings(state_dir=Path(sys.argv[1])), Isolation(sys.argv[2]))
    child = await launcher.start(Program(tuple(sys.argv[3:]), "fc"))
    print("started", flush=True)
    await child.stdout.read()
    await child.wait()

asyncio.run(main())
"""


async def test_a_child_gets_no_variable_of_the_gateway(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_MASTER_KEY", "of-the-gateway-alone")
    ended = await run(launcher, "env", env={"TOKEN": "for-the-child"})
    given = dict(line.split("=", 1) for line in ended.out.splitlines())
    given.pop("PWD", None)
    assert given.keys() == {"PATH", "LANG", "HOME", "TMPDIR", "TOKEN"}
    assert given["TOKEN"] == "for-the-child"


async def test_a_child_has_its_three_descriptors_and_no_other(launcher: Launcher) -> None:
    look = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        ended = await run(launcher, python(), "-c", look)
    finally:
        os.close(kept)
    # The fourth is the listing's own.
    assert ended.out.strip() == "['0', '1', '2', '3']"


async def test_a_child_works_in_a_directory_that_goes_with_it(launcher: Launcher) -> None:
    write = 'pwd; mkdir -p "$HOME/a/b"; echo x > "$TMPDIR/a/b/c"; chmod 0 "$HOME/a/b" "$HOME/a"; ls'
    ended = await run(launcher, "sh", "-c", write)
    folder, listed = ended.out.split()
    assert Path(folder).name.startswith("gateway-tool-") and listed == "a" and ended.code == 0
    assert not Path(folder).exists()


async def test_what_a_child_has_closed_against_its_own_user_goes_too(tmp_path: Path) -> None:
    """Root may remove everything, so this gateway is another user's."""
    shut = "pwd; mkdir -p a/b/c; touch a/b/c/d; ln -s / a/b/link; chmod 0 a/b/c a/b a"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        gateway = await asyncio.create_subprocess_exec(
            *(python(), "-c", GATEWAY, folder, "none", "sh", "-c", shut),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "TMPDIR": folder},
            preexec_fn=as_ordinary_user,
        )
        assert await gateway.wait() == 0
        assert _entries(folder) == []


async def test_a_childs_exit_is_told_as_a_shell_would(launcher: Launcher) -> None:
    assert (await run(launcher, "sh", "-c", "exit 7")).code == 7
    assert (await run(launcher, "sh", "-c", "kill -KILL $$")).code == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("no-such-program-anywhere",), "there is no such program"),
        (("/usr",), "there is no such program"),
    ],
)
async def test_what_cannot_be_started_says_why(
    launcher: Launcher, argv: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(OperationError, match=reason):
        await run(launcher, *argv)


async def test_a_program_that_its_own_user_cannot_reach_is_told_with_what_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(Isolation.UID)
    # As in containers, where root may not have a view of the files of its own.
    monkeypatch.setattr(process, "covers", lambda _: [])
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        program = Path(folder) / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        launcher = launcher_of(Isolation.UID, tmp_path)
        with pytest.raises(OperationError, match=f"{folder} is closed to others"):
            await run(launcher, str(program))
        Path(folder).chmod(0o755)
        assert (await run(launcher, str(program))).code == 0


async def test_a_value_that_no_variable_can_hold_is_not_told(launcher: Launcher) -> None:
    with pytest.raises(OperationError, match="TOKEN") as refused:
        await run(launcher, "env", env={"TOKEN": "marked\0secret"})
    assert "marked" not in str(refused.value)


async def test_a_value_is_in_no_command_line(launcher: Launcher) -> None:
    secret = secrets.token_hex(12)
    child = await launcher.start(Program(("sleep", "600"), "fc", {"TOKEN": secret}))
    assert processes(secret) == {}
    child.kill()
    await child.wait()


async def test_what_a_child_leaves_running_ends_with_it(launcher: Launcher) -> None:
    mark = secrets.token_hex(8)
    ended = await run(launcher, python(), "-c", DAEMON.format(seconds=0.2), mark)
    assert ended.code == 0
    assert processes(mark) == {}


async def test_a_killed_child_takes_all_with_it(launcher: Launcher) -> None:
    mark = secrets.token_hex(8)
    argv = (python(), "-c", DAEMON.format(seconds=600), mark)
    child = await launcher.start(Program(argv, "fc"))
    await until(lambda: len(processes(mark)) >= 2)
    child.kill()
    assert await child.wait() == 128 + signal.SIGKILL
    assert processes(mark) == {}


async def test_a_child_that_is_asked_to_end_may_do_so_in_its_own_way(tmp_path: Path) -> None:
    launcher = launcher_of(Isolation.NONE, tmp_path)
    argv = ("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done")
    child = await launcher.start(Program(argv, "fc"))
    assert await child.stdout.readline() == b"up\n"
    child.terminate()
    assert await child.stdout.read() == b"bye\n"
    assert await child.wait() == 5


async def test_a_fork_bomb_is_bounded_and_ended(launcher: Launcher, isolation: Isolation) -> None:
    if isolation is Isolation.NONE:
        pytest.skip("nothing bounds processes that are not told from the gateway's own")
    mark = secrets.token_hex(8)
    limits = ChildLimits(processes=20)
    child = await launcher.start(Program((python(), "-c", BOMB, mark), "fc", limits=limits))
    await child.stdout.readline()
    await until(lambda: len(processes(mark)) >= 15)
    assert len(processes(mark)) <= 30
    child.kill()
    await child.wait()
    assert processes(mark) == {}


@pytest.mark.parametrize(
    ("program", "limits"),
    [
        ("bytearray(300 << 20)", ChildLimits(memory=2**28)),
        ("[open('/dev/null') for _ in range(40)]", ChildLimits(files=30)),
        ("open('x', 'wb').write(bytes(3 << 20))", ChildLimits(file_size=2**20)),
        ("while True: pass", ChildLimits(cpu=1)),
    ],
)
async def test_a_child_takes_no_more_than_it_may(
    launcher: Launcher, program: str, limits: ChildLimits
) -> None:
    before = await run(launcher, python(), "-c", "pass", limits=limits)
    assert before.code == 0, before.err
    assert (await run(launcher, python(), "-c", program, limits=limits)).code != 0


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_the_gateways_death_leaves_no_child(isolation: Isolation, tmp_path: Path) -> None:
    needs(isolation)
    # Its directory has to be in one that every user may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        await _killed(isolation, tmp_path, folder)


async def _killed(isolation: Isolation, tmp_path: Path, folder: str) -> None:
    mark = secrets.token_hex(8)
    gateway = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GATEWAY, str(tmp_path / "state"), isolation.value),
        *(python(), "-c", DAEMON.format(seconds=600), mark),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": folder},
        stdout=asyncio.subprocess.PIPE,
    )
    assert gateway.stdout is not None
    assert await gateway.stdout.readline() == b"started\n"
    # One of them is the gateway, whose arguments hold the mark too.
    await until(lambda: len(processes(mark)) >= 3)
    assert _entries(folder)
    gateway.kill()
    await gateway.wait()
    await until(lambda: not processes(mark) and not _entries(folder))


async def test_starting_and_ending_leaves_no_descriptor_and_no_zombie(tmp_path: Path) -> None:
    launcher = launcher_of(Isolation.NONE, tmp_path)
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    await run(launcher, "true")
    before = len(_entries("/proc/self/fd"))
    for _ in range(30):
        await run(launcher, "true")
        with pytest.raises(OperationError, match="No such file"):
            await run(launcher, str(broken))
    assert len(_entries("/proc/self/fd")) <= before
    assert not [one for one in _entries("/proc") if _is_zombie_of_ours(one)]


async def test_where_files_run_out_halfway_nothing_is_begun_and_none_is_lost(
    tmp_path: Path,
) -> None:
    launcher = launcher_of(Isolation.NONE, tmp_path)
    await run(launcher, "true")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most[1]))
    held = _all_free_files()
    try:
        for free in range(12):
            with pytest.raises(OperationError, match="Too many open files"):
                await run(launcher, "true")
            found = _all_free_files()
            assert len(found) == free
            # One more is free in the next round.
            for one in (*found, held.pop()):
                os.close(one)
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert (await run(launcher, "true")).code == 0


def _all_free_files() -> list[int]:
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.dup(0))
    return taken


def _entries(folder: str) -> list[Path]:
    return list(Path(folder).iterdir())


def _is_zombie_of_ours(process: Path) -> bool:
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state == "Z" and int(parent) == os.getpid()
