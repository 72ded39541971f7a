"""Files with secrets: whoever can read or replace one has the gateway's powers."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.services.diagnosis.findings import Finding, Level
from gateway.store.state_dir import MASTER_KEY, PEPPER, PRIVATE

_ROOT = 0


def private_file(path: Path, what: str) -> Finding:
    """`what`: its content, such as 'the pepper'. Links are followed, as readers of the file do."""
    level, sentence = _judged(path)
    return Finding("secrets", level, f"{what}, {path}, {sentence}")


def _judged(path: Path) -> tuple[Level, str]:
    try:
        status = path.stat()
    except OSError as problem:
        return Level.WRONG, f"cannot be read: {problem.strerror}."
    if status.st_uid not in (os.geteuid(), _ROOT):
        return Level.WRONG, "belongs to another user, who can replace it: chown it."
    advice = f"chmod 600 {path}"
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        return Level.WRONG, f"is open to other users: {advice}, and change it if they are many."
    if status.st_mode & stat.S_IRGRP:
        # systemd and Kubernetes hand out secrets like this, mostly for a group of one program.
        return Level.WARN, f"is open to its group: {advice}."
    return Level.OK, "is for its owner alone."


def state_found(folder: Path) -> Iterator[Finding]:
    """Check the state directory, if there is one, before anything repairs it."""
    if not folder.is_dir():
        return
    status = folder.stat()
    level, sentence = Level.OK, "is for its owner alone."
    if status.st_uid != os.geteuid():
        level, sentence = Level.WRONG, "belongs to another user: run this as the one who serves."
    elif stat.S_IMODE(status.st_mode) & ~PRIVATE:
        level = Level.WRONG
        sentence = "was open to other users, and the store's socket is in it: chmod 700 it."
    yield Finding("state", level, f"{folder} {sentence}")
    for name in (PEPPER, MASTER_KEY):
        if (folder / name).exists():
            yield private_file(folder / name, f"The {name.replace('-', ' ')}")
