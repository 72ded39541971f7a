"""Running an example's `demo.sh` as it stands."""

import subprocess
import sys
from pathlib import Path

from tests.cli.serving import environment
from tests.flows.nodes import free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_demo(name: str, folder: Path, ports: tuple[str, ...], **settings: str) -> tuple[str, str]:
    """What it said, on stdout and stderr, once it has ended well and left nothing in `folder`.
    `ports`: the settings that name one."""
    free = dict(zip(ports, map(str, free_ports(len(ports))), strict=True))
    ended = subprocess.run(
        ["sh", EXAMPLES / name / "demo.sh"],
        env=environment(**free, PYTHON=sys.executable, TMPDIR=str(folder), **settings),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not list(folder.iterdir())
    return ended.stdout, ended.stderr
