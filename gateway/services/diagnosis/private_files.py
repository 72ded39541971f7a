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
    try:
        status = path.stat()
    except OSError as problem:
        return Finding(
            "secrets", Level.WRONG, f"{what}, {path}, cannot be read: {problem.strerror}."
        )
    advice = f"chmod 600 {path}"
    if status.st_uid not in (os.geteuid(), _ROOT):
        sentence = f"{what}, {path}, belongs to another user, who can replace it: chown it."
        return Finding("secrets", Level.WRONG, sentence)
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        sentence = (
            f"{what}, {path}, is open to other users: {advice}, and change it if they are many."
        )
        return Finding("secrets", Level.WRONG, sentence)
    if status.st_mode & stat.S_IRGRP:
        # systemd and Kubernetes hand out secrets like this, mostly for a group of one program.
        return Finding("secrets", Level.WARN, f"{what}, {path}, is open to its group: {advice}.")
    return Finding("secrets", Level.OK, f"{what}, {path}, is for its owner alone.")


def state_found(folder: Path) -> Iterator[Finding]:
    """Check the state directory, if there is one, before anything repairs it."""
    if not folder.is_dir():
        return
    status = folder.stat()
    if status.st_uid != os.geteuid():
        sentence = f"{folder} belongs to another user: run this as the one who serves."
        yield Finding("state", Level.WRONG, sentence)
    elif stat.S_IMODE(status.st_mode) & ~PRIVATE:
        sentence = (
            f"{folder} was open to other users, and the store's socket is in it: chmod 700 it."
        )
        yield Finding("state", Level.WRONG, sentence)
    else:
        yield Finding("state", Level.OK, f"{folder} is for its owner alone.")
    for name in (PEPPER, MASTER_KEY):
        if (folder / name).exists():
            yield private_file(folder / name, f"The {name.replace('-', ' ')}")
