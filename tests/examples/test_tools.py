"""The example of tools runs as it stands: two users, three transports, and no credential shown."""

import re
from pathlib import Path

from tests.examples.demos import run_demo

PORTS = ("DEMO_PORT", "TOOL_PORT")


def test_a_model_calls_tools_of_all_transports_for_two_users_and_sees_no_credential(
    tmp_path: Path,
) -> None:
    said, err = run_demo("tools", tmp_path, PORTS)
    told = dict(re.findall(r"^((?:alice|bob) \w+\.\w+): (.*(?:\n(?!alice|bob|==).*)*)", said, re.M))
    assert len(told) == 10
    assert told["alice issues.search"] != told["bob issues.search"], "each with their own token"
    assert told["alice cloud.list_functions"] != told["bob cloud.list_functions"]
    assert told["bob notes.add"] == "1 kept with 36 characters: buy milk", "a program of one's own"
    assert told["alice issues.debug"] == "called with the token [redacted:github]"
    assert "ACCESS_KEY_SECRET=[redacted:" in told["bob cloud.show_environment"]
    assert said.splitlines()[-1] == "10"
    assert "tok-" not in said + err
