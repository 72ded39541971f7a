"""Runs once more, with nothing beside them, the few tests that failed beside all others.

Real processes on a busy machine are late at times, and one test in a thousand runs may take that
for a fault: alone it has to pass. What fails alone as well has failed; so have many at once.
"""

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
FAILED = 1
_LAST = Path(".pytest_cache/v/cache/lastfailed")


def run(ended: int) -> int:
    """`ended`: how pytest did, and what is to be told if there is nothing to run once more: one
    that was broken off did not run all tests."""
    if ended != FAILED or not _LAST.exists():
        return ended
    names = list(json.loads(_LAST.read_text()))
    if not 0 < len(names) <= MOST:
        return ended
    print(f"\nFailed beside all others, and run alone now: {', '.join(names)}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-n", "0", *names]
    if (again := subprocess.run(pytest, check=False).returncode) == 0:
        print("Passed alone. If it comes again, the test is too strict about time, or right.")
    return again


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1])))
