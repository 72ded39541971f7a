"""The stderr of tool programs: logged without secrets, and up to a limit."""

import asyncio
from contextlib import suppress

from gateway.log import log
from gateway.protocol.scrub import Scrubber
from gateway.protocol.secrets import Secrets
from gateway.services.tools.line_budget import LineBudget

LONGEST_LINE = 2_000
# Values that went into calls, and those of the environment.
MOST_SECRETS = 256
_PIECE = 8_192
# How long a line waits for the next one, in which a secret may continue.
QUIET_SECONDS = 0.5


class ToolStderr:
    """Reads until the program closes its stderr. `tail`: the last part of it, without secrets."""

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
        """The placeholders of the secrets that it wrote."""
        return set() if self._scrubber is None else self._scrubber.seen

    def hide(self, secrets: Secrets) -> None:
        """Hide these secrets too, from now on."""
        all_of_them = self._secrets.and_also(secrets.pairs)
        if all_of_them is self._secrets:
            return
        self._secrets = Secrets(all_of_them.pairs[-MOST_SECRETS:])
        if self._scrubber is None:
            self._scrubber = _scrubber(self._secrets)
        elif self._secrets.patterns is not None:
            # The scrubber keeps what it holds back.
            self._scrubber.patterns = self._secrets.patterns

    async def read(self, stream: asyncio.StreamReader) -> None:
        while piece := await self._next(stream):
            self._take(piece if self._scrubber is None else self._scrubber.feed(piece))
            # Data that is already there causes no wait, so let other work have its turn.
            await asyncio.sleep(0)
        if self._scrubber is not None:
            self._take(self._scrubber.end())
        if self._line:
            self._log([self._line])
        self._budget.end()

    async def _next(self, stream: asyncio.StreamReader) -> bytes:
        """Return the next piece; empty at the end. Whole lines wait only briefly for it: they may
        explain why nothing comes."""
        # Twice: if the loop was held up while more came, it is there the second time.
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
        self._log(lines)

    def _log(self, lines: list[bytes]) -> None:
        for line in lines[: self._budget.allow(len(lines))]:
            text = line.decode(errors="replace").strip()
            if text:
                log.info("tool_stderr", tool=self._server, text=text[:LONGEST_LINE])


def _scrubber(secrets: Secrets) -> Scrubber | None:
    return None if secrets.patterns is None else Scrubber(secrets.patterns)
