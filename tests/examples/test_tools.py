"""The example of tools runs as it stands: two users, three transports, and no credential shown."""

import re
import subprocess
import sys
from pathlib import Path

from tests.cli.serving import environment
from tests.examples.test_pull import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "tools"


def test_a_model_calls_tools_of_all_transports_for_two_users_and_sees_no_credential(
    tmp_path: Path,
) -> None:
    settings = {
        "DEMO_PORT": free_port(),
        "TOOL_PORT": free_port(),
        "PYTHON": sys.executable,
        "TMPDIR": str(tmp_path),
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
    told = dict(re.findall(r"^((?:alice|bob) \w+\.\w+): (.*(?:\n(?!alice|bob|==).*)*)", said, re.M))
    assert len(told) == 10
    assert told["alice issues.search"] != told["bob issues.search"], "each with their own token"
    assert told["alice cloud.list_functions"] != told["bob cloud.list_functions"]
    assert told["bob notes.add"] == "1 kept with 36 characters: buy milk", "a program of one's own"
    assert told["alice issues.debug"] == "called with the token [redacted:github]"
    assert "ACCESS_KEY_SECRET=[redacted:" in told["bob cloud.show_environment"]
    assert said.splitlines()[-1] == "10"
    assert "tok-" not in said + ended.stderr
    assert not list(tmp_path.iterdir())
