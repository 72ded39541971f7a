"""A process that holds secrets dumps no core, and other programs of its user do not look in."""

import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from gateway.cli.main import root

LOOK = """
import ctypes, os, resource
from gateway.cli.privacy import keep_private
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
keep_private()
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print(os.stat("/proc/self/environ").st_uid)
print(len(os.listdir("/proc/self/fd")) > 0)
"""
CRASH = "from gateway.cli.privacy import keep_private; keep_private(); import os; os.abort()"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_its_environment_is_closed_to_others_and_open_to_itself() -> None:
    ended = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    limit, dumpable, owner, own = ended.stdout.split()
    assert (limit, dumpable) == ("0", "0")
    assert (owner, own) == ("0", "True"), "root's alone, who may look everywhere"


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


class ClosedError(Exception):
    """It would have closed itself to others now."""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("serve", ("serve", "--listen", "127.0.0.1:0", "--tls-cert", "half-a-pair.pem")),
        ("run", ("run", "--env", "TOKEN=openai_key", "--url", "http://127.0.0.1:9", "--", "true")),
        ("acting", ("credentials", "list")),
        ("doctor", ("doctor",)),
    ],
)
def test_whatever_holds_secrets_closes_itself_before_it_reads_them(
    module: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def close() -> None:
        raise ClosedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module(f"gateway.cli.{module}"), "keep_private", close)
    with pytest.raises(ClosedError):
        root.main(words, prog_name="gateway", standalone_mode=False)
    assert list(tmp_path.iterdir()) == []
