"""Argon2id of whole keys, with a bound on how many are computed at once.

The only module that imports the argon2 library.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError, VerifyMismatchError
from argon2.low_level import verify_secret

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.phc import acceptable
from gateway.tasks import threads

MEMORY_KIB = 19456
ITERATIONS = 2
LANES = 1
_OUT_OF_MEMORY = "Memory allocation error"


def hash_key(text: str) -> str:
    """Return the PHC string of a whole key, with a fresh salt. Takes tens of milliseconds."""
    return PasswordHasher(ITERATIONS, MEMORY_KIB, LANES, type=Type.ID).hash(text)


def verify(phc: str, text: str) -> bool:
    """Whether `phc` is of `text`. Blocks; MemoryError if there is not enough memory to tell."""
    if not acceptable(phc):
        return False
    try:
        return verify_secret(phc.encode(), text.encode(errors="surrogatepass"), Type.ID)
    except VerifyMismatchError:
        return False
    except VerificationError as problem:
        if str(problem) == _OUT_OF_MEMORY:
            raise MemoryError from None
        return False


class Argon2Pool:
    """Runs `verify` in `workers` threads, with at most `queue` more waiting.

    The same question asked twice at once is computed once. `on_run` is called for each computation,
    `on_end` with the seconds it took, including the wait for a thread.
    """

    def __init__(
        self,
        workers: int = 2,
        queue: int = 32,
        on_run: Callable[[], object] = lambda: None,
        on_end: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._on_run = on_run
        self._on_end = on_end
        self._threads = threads(workers, "argon2")
        self._capacity = workers + queue
        self._running: dict[tuple[str, str], asyncio.Future[bool | None]] = {}
        self._closed = False

    @property
    def under_way(self) -> int:
        """The number of computations that run or wait."""
        return sum(not running.done() for running in self._running.values())

    async def verify(self, text: str, phc: str) -> bool:
        """Whether `phc` is of `text`; Denied(BUSY) if that cannot be computed now.

        A cancelled caller leaves the computation to the others who wait for it.
        """
        if not acceptable(phc):
            return False
        running = self._running.get((text, phc)) or self._start(text, phc)
        # Unlike `await running`, this does not cancel the computation with its caller.
        await asyncio.wait((running,))
        verdict = None if running.cancelled() else running.result()
        if verdict is None:
            raise Denied(Code.BUSY, retry_after=1)
        return verdict

    def close(self) -> None:
        """Cancel what waits and take no more; what runs ends by itself. Waiters get BUSY."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, text: str, phc: str) -> asyncio.Future[bool | None]:
        if self._closed or self.under_way >= self._capacity:
            raise Denied(Code.BUSY, retry_after=1)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, _verdict, phc, text)
        self._running[text, phc] = running
        self._on_run()
        running.add_done_callback(partial(self._finished, (text, phc), loop.time()))
        return running

    def _finished(
        self, question: tuple[str, str], began: float, running: asyncio.Future[bool | None]
    ) -> None:
        loop = running.get_loop()
        if not running.cancelled():
            self._on_end(loop.time() - began)
        # Two loop turns later, once all waiters have the result: whoever asks before then gets it
        # too.
        loop.call_soon(loop.call_soon, self._running.pop, question)


def _verdict(phc: str, text: str) -> bool | None:
    # This never raises: nobody may be left to retrieve the exception.
    try:
        return verify(phc, text)
    except MemoryError:
        return None
