"""What this process holds."""

import resource
from pathlib import Path

from tests.flows.chat import app as app


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
