"""The policies in force, kept for the worker that takes the place of another one.

What is in the directory by then may be bad, and the end of a few processes must not be that of all.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.domain.policies.snapshot import Policies
from gateway.log import log
from gateway.services.policies.directory import read_contents

_FILE = "policies.json"


def keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """What the policies in force were read from. Where that fails nothing is kept: a worker that
    began with those before would open again what was closed since."""
    draft = folder / f"{_FILE}.{os.getpid()}"
    try:
        # As bytes are in Latin-1, so that what is read is what was written.
        draft.write_text(json.dumps({name: b.decode("latin-1") for name, b in files.items()}))
        draft.replace(folder / _FILE)
    except OSError as problem:
        log.warning("policies_not_kept", reason=problem.strerror)
        for file in (draft, folder / _FILE):
            with suppress(OSError):
                file.unlink()


def kept(folder: Path) -> Policies | None:
    """None: nothing was kept, or what it needs, such as a hook or a certificate, is gone."""
    try:
        files = json.loads((folder / _FILE).read_text())
    except OSError:
        return None
    return read_contents({name: text.encode("latin-1") for name, text in files.items()}).policies
