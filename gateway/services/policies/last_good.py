"""The last policies that were accepted, saved for workers that replace others.

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

RETRY_SECONDS = 2.0


class LastGoodPolicies:
    """Saved in `folder`. After a failure nothing is saved there: a worker that began with older
    policies would reopen what was closed since."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "policies.json"
        self._unsaved: Mapping[str, bytes] | None = None

    def save(self, files: Mapping[str, bytes]) -> None:
        """Save the files that the policies were read from."""
        if reason := self._write(files):
            log.warning("policies_not_kept", reason=reason)
        self._unsaved = files if reason else None

    def load(self) -> Policies | None:
        """Return the saved policies. None: there are none, or something that they need is gone,
        such as a hook or a certificate."""
        try:
            files = json.loads(self._file.read_text())
        except OSError:
            return None
        return read_contents(
            {name: text.encode("latin-1") for name, text in files.items()}
        ).policies

    async def retry(self) -> None:
        """Save again and again what could not be saved. Never ends by itself."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self._unsaved is not None and not self._write(self._unsaved):
                self._unsaved = None
                log.info("policies_kept")

    def _write(self, files: Mapping[str, bytes]) -> str:
        """Return why it failed, or ''."""
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            # Decoded as Latin-1, so that exactly the same bytes are read back.
            draft.write_text(json.dumps({name: b.decode("latin-1") for name, b in files.items()}))
            draft.replace(self._file)
        except OSError as problem:
            for file in (draft, self._file):
                with suppress(OSError):
                    file.unlink()
            return problem.strerror or "it cannot be written"
        return ""
