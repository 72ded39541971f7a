"""Programs of others that tests need: where one is missing, a test is skipped, or fails where none
may be missing."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    if os.environ.get("GATEWAY_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """Where it is: on PATH, or beside this Python."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return found or missing(f"{name} is not installed ({package})")
