"""Writing audit records: an act is done only once its record is written."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from gateway.crypto.audit_key import AuditKeys, sealed_with
from gateway.domain.audit.record import END, AuditEvent, Chain
from gateway.domain.errors import Code, Denied, StoreError
from gateway.store.audit_file import AuditFile
from gateway.tasks import retrieve_exception
from gateway.timers import timeout

# Records that arrive during a write go with the next one, in one round trip.
MOST_AT_ONCE = 256
# A disk that hangs must lead to a refusal: requests would wait for ever.
FILE_SECONDS = 5.0

Waiting = tuple[AuditEvent, "asyncio.Future[None]"]


class Sink(Protocol):
    async def append(self, records: Sequence[bytes]) -> None:
        """Append all of these in this order, or none; StoreError unless that is certain."""
        ...


class Audit:
    """The only writer of its chain. `file`: a file that gets the records in addition to the stream.
    `on_failure` is told the reason and how many records could not be written."""

    def __init__(
        self,
        store: Sink,
        keys: AuditKeys,
        file: AuditFile | None = None,
        on_failure: Callable[[str, int], object] | None = None,
    ) -> None:
        self._store = store
        self._file = file
        self._to_file: asyncio.Task[None] | None = None
        self._keys = keys
        self._seal = sealed_with(keys.signing)
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._since: float | None = None
        self._problem = ""
        self._chain = self._new_chain()

    @property
    def lag(self) -> float:
        """Seconds that the write in progress has taken so far."""
        return 0.0 if self._since is None else self._loop.time() - self._since

    @property
    def problem(self) -> str:
        """Why the last records could not be written; empty if they were."""
        return self._problem

    def record(self, event: AuditEvent) -> Awaitable[None]:
        """Return an awaitable that is done once the record of `event` is written;
        Denied(audit_unavailable) if it cannot be: the act must not happen then."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((event, written))
        if self._writing is None or self._writing.done():
            self._writing = self._loop.create_task(self._write())
        return written

    async def close(self) -> None:
        """Write what is waiting, then the end of the chain."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._chain.seq:
            with suppress(Denied):
                await self.record(AuditEvent(END))

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            self._since = self._loop.time()
            try:
                records, batch = self._linked(batch)
                if records:
                    await self._append(records)
                    self._problem = ""
            except StoreError as problem:
                self._problem = str(problem)
                if self._on_failure is not None:
                    self._on_failure(str(problem), len(batch))
                # It is unknown whether they were written, so nothing can follow them in this chain.
                self._chain = self._new_chain()
                _fail(batch, problem)
            except BaseException as problem:
                batch, self._waiting = batch + self._waiting, []
                self._chain = self._new_chain()
                _fail(batch, problem)
                raise
            else:
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
            finally:
                self._since = None

    async def _append(self, records: list[bytes]) -> None:
        if self._file is not None:
            await self._append_to(self._file, records)
        await self._store.append(records)

    async def _append_to(self, file: AuditFile, records: list[bytes]) -> None:
        """Write to the file. StoreError if it takes too long, and from then on until that write has
        ended: a thread cannot be cancelled, and there are few."""
        if self._to_file is not None and not self._to_file.done():
            raise StoreError("An earlier write to the audit file has not come to an end.")
        writing = self._to_file = asyncio.create_task(asyncio.to_thread(file.append, records))
        writing.add_done_callback(retrieve_exception)
        with suppress(TimeoutError):
            async with timeout(FILE_SECONDS):
                await asyncio.wait({writing})
        if not writing.done():
            raise StoreError(f"The audit file took no record within {FILE_SECONDS:.0f} s.")
        writing.result()

    def _new_chain(self) -> Chain:
        return Chain(secrets.token_hex(6), self._seal, self._keys.current)

    def _linked(self, batch: list[Waiting]) -> tuple[list[bytes], list[Waiting]]:
        """Return the records, and who waits for them. An event that cannot be encoded fails alone:
        what strangers put into one event must not block the others."""
        records, waiting, now = [], [], round(time.time(), 3)
        for one in batch:
            try:
                records.append(self._chain.add(one[0], now))
            except (TypeError, ValueError) as problem:
                if self._on_failure is not None:
                    self._on_failure("it cannot be written as JSON", 1)
                _fail([one], problem)
            else:
                waiting.append(one)
        return records, waiting


def _fail(batch: list[Waiting], problem: BaseException) -> None:
    for _, written in batch:
        if not written.done():
            denied = Denied(Code.AUDIT_UNAVAILABLE)
            # For operators; a caller is told the code's own sentence.
            denied.__cause__ = problem
            written.set_exception(denied)
