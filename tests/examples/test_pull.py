"""The example of agents that pull runs as it stands, and no request fails over a rotation."""

import re
from pathlib import Path

from tests.examples.demos import run_demo

PORTS = ("DEMO_PORT", "PROVIDER_PORT")


def test_keys_are_rotated_while_a_python_agent_and_a_shell_script_run(tmp_path: Path) -> None:
    said, err = run_demo("pull", tmp_path, PORTS, QUESTIONS="120")
    assert "done: 0 failed, versions {'small_model_key': 2, 'large_model_key': 1}" in said
    after = said.split("== the old key is revoked at the provider")[1]
    assert "small: 200" in after, "questions were asked after the old key was dead"
    read = re.findall(r"server: password read, \d+ bytes, checksum (\d+)", said)
    assert len(read) == 2 and read[0] != read[1]
    assert "sk-" not in said + err
