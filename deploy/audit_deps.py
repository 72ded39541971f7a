"""Are there known weaknesses in what is installed where the gateway runs?

Asks with pip-audit. Exit 1 only for a weakness that was found: without the network, or where the
index does not tell, this says so and is no reason to stop.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("requirements.txt")
PATIENCE_SECONDS = 180


def main() -> int:
    sentences, code = verdict(report())
    sys.stdout.write("\n".join(sentences) + "\n")
    return code


def report() -> dict[str, Any] | None:
    """What pip-audit found; None where it could not ask."""
    command = ("--requirement", LOCK, "--require-hashes", "--disable-pip", "--format", "json")
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        found: dict[str, Any] = json.loads(ended.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return found


def verdict(found: dict[str, Any] | None) -> tuple[list[str], int]:
    """What to say, and the exit code."""
    if found is None:
        return ["Not audited: the index of weaknesses could not be asked."], 0
    asked = [one for one in found["dependencies"] if "skip_reason" not in one]
    weak = [
        f"{one['name']} {one['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no version yet'}"
        for one in asked
        for weakness in one["vulns"]
    ]
    unknown = len(found["dependencies"]) - len(asked)
    if not asked:
        return [f"Not audited: the index knows none of the {unknown} packages."], 0
    left = f", {unknown} unknown to the index" if unknown else ""
    return [*weak, f"{len(asked)} packages audited{left}: {len(weak)} weaknesses."], bool(weak)


if __name__ == "__main__":
    sys.exit(main())
