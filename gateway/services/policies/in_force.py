"""A copy of the policies in force, for workers that replace others.

The files in the directory may be invalid by then, and when a few workers end, the others must not
fail with them.
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
    """Keeps the last accepted policies in `folder`, and tries again while there is no room."""

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
        """Try again and again. Never ends by itself."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            if self._unkept is not None and not keep(self._folder, self._unkept):
                self._unkept = None
                log.info("policies_kept")


def keep(folder: Path, files: Mapping[str, bytes]) -> str:
    """Keep the files that the policies in force were read from. Return why that failed, or ''.
    After a failure nothing is kept: a worker that began with older policies would reopen what was
    closed since."""
    draft = folder / f"{_FILE}.{os.getpid()}"
    try:
        # Decoded as Latin-1, so that exactly the same bytes are read back.
        draft.write_text(json.dumps({name: b.decode("latin-1") for name, b in files.items()}))
        draft.replace(folder / _FILE)
    except OSError as problem:
        for file in (draft, folder / _FILE):
            with suppress(OSError):
                file.unlink()
        return problem.strerror or "it cannot be written"
    return ""


def kept(folder: Path) -> Policies | None:
    """Return the kept policies. None: there are none, or something that they need is gone, such as
    a hook or a certificate."""
    try:
        files = json.loads((folder / _FILE).read_text())
    except OSError:
        return None
    return read_contents({name: text.encode("latin-1") for name, text in files.items()}).policies
