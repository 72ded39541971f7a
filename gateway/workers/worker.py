"""The worker's side of the line to its supervisor."""

import asyncio
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress

from gateway.domain.traffic import Handled
from gateway.workers.handover import END_ANNOUNCED, READY, SPENT, Handover, opened

# Workers that started together must not end together.
JITTER = 0.1


class Worker:
    """This process as one of several. Create it in the running loop."""

    def __init__(self, given: Handover, max_requests: int) -> None:
        self.data = opened(given.data)
        self.admin = opened(given.admin)
        (self._line,) = opened((given.line,))
        self._line.setblocking(False)
        self._shared = given.shared
        self._alone = False
        self._left = max_requests
        if max_requests:
            self._left += random.randint(0, int(max_requests * JITTER))  # noqa: S311

    def ready(self) -> None:
        self._send(READY)

    def count(self, batch: Sequence[Handled]) -> None:
        """Count requests; when none are left, ask the supervisor for a successor."""
        before = self._left
        self._left -= len(batch)
        if before > 0 >= self._left:
            self._send(SPENT)

    def listen(self, end_announced: Callable[[], None], alone: Callable[[], None]) -> None:
        """Call `end_announced` when the supervisor sends its only message, and `alone` when it is
        gone, however it ended."""
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            if self._receive():
                end_announced()
            else:
                loop.remove_reader(self._line)
                self._alone = True
                alone()

        loop.add_reader(self._line, on_readable)

    def _receive(self) -> bytes:
        """Return the message; empty if the supervisor is gone."""
        with suppress(OSError):
            return self._line.recv(len(END_ANNOUNCED))
        return b""

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        if self._alone:
            # Otherwise the supervisor does it.
            shutil.rmtree(self._shared, ignore_errors=True)

    def _send(self, word: bytes) -> None:
        # The reader notices if the supervisor is gone.
        with suppress(OSError):
            self._line.send(word)
