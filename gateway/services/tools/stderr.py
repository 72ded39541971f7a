"""What programs write to stderr: into the log, without secrets, and not more than it bears."""

import asyncio
from contextlib import suppress

from gateway.log import log
from gateway.protocol.scrub import Scrubber
from gateway.protocol.secrets import Secrets
from gateway.services.tools.line_budget import LineBudget

LONGEST_LINE = 2_000
# Values that went into calls; those of the environment are among them.
MOST_SECRETS = 256
_PIECE = 8_192
# A line waits so long for the next one, which a secret may go on in.
QUIET_SECONDS = 0.5


class ToolStderr:
    """Reads until the program closes it. `tail`: the last of what it wrote, without secrets."""

    def __init__(self, server: str, secrets: Secrets, longest_tail: int = 4_096) -> None:
        self._server = server
        self._secrets = secrets
        self._scrubber = _scrubber(secrets)
        self._line = b""
        self._budget = LineBudget("tool_stderr_cut", server)
        self._longest_tail = longest_tail
        self.tail = b""

    @property
    def seen(self) -> set[bytes]:
        """What stands for the secrets that it wrote."""
        return set() if self._scrubber is None else self._scrubber.seen

    def hide(self, secrets: Secrets) -> None:
        """From now on, these too."""
        all_of_them = self._secrets.and_also(secrets.pairs)
        if all_of_them is self._secrets:
            return
        self._secrets = Secrets(all_of_them.pairs[-MOST_SECRETS:])
        if self._scrubber is None:
            self._scrubber = _scrubber(self._secrets)
        elif self._secrets.patterns is not None:
            # It goes on with what it holds back.
            self._scrubber.patterns = self._secrets.patterns

    async def read(self, stream: asyncio.StreamReader) -> None:
        while piece := await self._next(stream):
            self._take(piece if self._scrubber is None else self._scrubber.feed(piece))
            # What is there already is not waited for, and others want their turn.
            await asyncio.sleep(0)
        if self._scrubber is not None:
            self._take(self._scrubber.end())
        if self._line:
            self._tell([self._line])
        self._budget.end()

    async def _next(self, stream: asyncio.StreamReader) -> bytes:
        """What comes next; empty at the end. Whole lines do not wait for it for long: they may tell
        why nothing comes."""
        # Twice: the loop may have been held up while more came, which is there by the second time.
        for _ in range(2):
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS / 2):
                    return await stream.read(_PIECE)
        if self._scrubber is not None:
            self._take(self._scrubber.whole_lines())
        return await stream.read(_PIECE)

    def _take(self, shown: bytes) -> None:
        self.tail = (self.tail + shown)[-self._longest_tail :]
        *lines, self._line = (self._line + shown).split(b"\n")
        if len(self._line) > LONGEST_LINE:
            lines.append(self._line)
            self._line = b""
        self._tell(lines)

    def _tell(self, lines: list[bytes]) -> None:
        for line in lines[: self._budget.allow(len(lines))]:
            text = line.decode(errors="replace").strip()
            if text:
                log.info("tool_stderr", tool=self._server, text=text[:LONGEST_LINE])


def _scrubber(secrets: Secrets) -> Scrubber | None:
    return None if secrets.patterns is None else Scrubber(secrets.patterns)
