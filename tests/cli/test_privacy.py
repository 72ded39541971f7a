"""A process that holds secrets dumps no core, and other programs of its user do not look in."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import os, resource
from gateway.cli.privacy import keep_private
keep_private()
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
print(os.stat("/proc/self/environ").st_uid)
print(len(os.listdir("/proc/self/fd")) > 0)
"""
CRASH = "from gateway.cli.privacy import keep_private; keep_private(); import os; os.abort()"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_its_environment_is_closed_to_others_and_open_to_itself() -> None:
    ended = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    limit, owner, own = ended.stdout.split()
    assert (limit, owner, own) == ("0", "0", "True"), "root's alone, who may look everywhere"


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    def allow() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", CRASH],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        preexec_fn=allow,
    )
    assert ended.returncode < 0 and list(tmp_path.iterdir()) == []
