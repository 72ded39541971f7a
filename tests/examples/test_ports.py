"""An example never talks to a gateway that is not its own."""

import os
import socket
import subprocess
import sys

import pytest

from tests.examples.demos import EXAMPLES


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        (name, port)
        for name, other in (("pull", "PROVIDER_PORT"), ("tools", "TOOL_PORT"))
        for port in ("DEMO_PORT", other)
    ],
)
def test_a_port_that_somebody_else_has_is_told_before_anything_is_started(
    name: str, taken: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = subprocess.run(
            ["sh", EXAMPLES / name / "demo.sh"],
            env={**os.environ, "DEMO_PORT": "0", "PYTHON": sys.executable, taken: port},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Port {port} is taken: ")
    assert ended.stderr.count("\n") == 1
