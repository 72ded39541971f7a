"""The example of agents that pull runs as it stands, and no request fails over a rotation."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.serving import environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "pull"


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def test_keys_are_rotated_while_a_python_agent_and_a_shell_script_run(tmp_path: Path) -> None:
    settings = {
        "DEMO_PORT": free_port(),
        "PROVIDER_PORT": free_port(),
        "PYTHON": sys.executable,
        "TMPDIR": str(tmp_path),
        "QUESTIONS": "120",
    }
    ended = subprocess.run(
        ["sh", EXAMPLE / "demo.sh"],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=110,
    )
    said = ended.stdout
    assert ended.returncode == 0, said + ended.stderr
    assert "done: 0 failed, versions {'small_model_key': 2, 'large_model_key': 1}" in said
    after = said.split("== the old key is revoked at the provider")[1]
    assert "small: 200" in after, "questions were asked after the old key was dead"
    read = re.findall(r"server: password read, \d+ bytes, checksum (\d+)", said)
    assert len(read) == 2 and read[0] != read[1]
    assert "sk-" not in said + ended.stderr
    assert not os.listdir(tmp_path)  # noqa: PTH208
