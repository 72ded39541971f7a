"""Find out which isolation of child processes this machine offers."""

import os
import subprocess
import sys
import tempfile

from gateway.children.sandbox import find_bubblewrap, wrapped
from gateway.domain.children import Isolation
from gateway.domain.errors import OperationError

_TRIAL_SECONDS = 20.0


def find_isolation(wanted: Isolation | None) -> Isolation:
    """Return `wanted`, or the best available isolation; raise OperationError if `wanted` is not
    available."""
    is_root = os.geteuid() == 0
    if wanted is Isolation.UID and not is_root:
        raise OperationError("Only root can give tools user ids of their own (--tool-isolation).")
    if wanted is Isolation.NONE or wanted is Isolation.UID:
        return wanted
    if wanted is None and is_root:
        return Isolation.UID
    reason = _why_no_sandbox()
    if not reason:
        return Isolation.BUBBLEWRAP
    if wanted is Isolation.BUBBLEWRAP:
        raise OperationError(f"Tools cannot be run in a sandbox: {reason}.")
    return Isolation.NONE


def _why_no_sandbox() -> str:
    """Return why bubblewrap cannot be used; empty if it can."""
    if sys.platform != "linux":
        return "bubblewrap is for Linux"
    program = find_bubblewrap()
    if program is None:
        return "bubblewrap (bwrap) is not installed"
    try:
        with tempfile.TemporaryDirectory() as folder:
            tried = subprocess.run(
                wrapped(program, ["/bin/true"], folder),
                capture_output=True,
                text=True,
                timeout=_TRIAL_SECONDS,
            )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"bubblewrap does not run: {problem}"
    return "" if tried.returncode == 0 else tried.stderr.strip() or "bubblewrap fails"
