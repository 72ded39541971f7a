"""The policies in force, kept for the worker that takes the place of another one.

What is in the directory by then may be bad, and the end of a few processes must not be that of all.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.domain.policies.snapshot import Policies
from gateway.log import log
from gateway.services.policies.directory import read_contents

AGAIN_SECONDS = 2.0
_FILE = "policies.json"


class Keeping:
    """Keeps what was taken last in `folder`, where there is no room as soon as there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unkept: Mapping[str, bytes] | None = None

    def take(self, files: Mapping[str, bytes]) -> None:
        if reason := keep(self._folder, files):
            log.warning("policies_not_kept", reason=reason)
        self._unkept = files if reason else None

    def kept(self) -> Policies | None:
        return kept(self._folder)

    async def keep_on(self) -> None:
        """Never ends by itself."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            if self._unkept is not None and not keep(self._folder, self._unkept):
                self._unkept = None
                log.info("policies_kept")


def keep(folder: Path, files: Mapping[str, bytes]) -> str:
    """What the policies in force were read from. Why that is not possible, or '': then nothing is
    kept, for a worker that began with those before would open again what was closed since."""
    draft = folder / f"{_FILE}.{os.getpid()}"
    try:
        # As bytes are in Latin-1, so that what is read is what was written.
        draft.write_text(json.dumps({name: b.decode("latin-1") for name, b in files.items()}))
        draft.replace(folder / _FILE)
    except OSError as problem:
        for file in (draft, folder / _FILE):
            with suppress(OSError):
                file.unlink()
        return problem.strerror or "it cannot be written"
    return ""


def kept(folder: Path) -> Policies | None:
    """None: nothing was kept, or what it needs, such as a hook or a certificate, is gone."""
    try:
        files = json.loads((folder / _FILE).read_text())
    except OSError:
        return None
    return read_contents({name: text.encode("latin-1") for name, text in files.items()}).policies
