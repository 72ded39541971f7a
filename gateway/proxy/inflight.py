"""Open streams by key. Each key is looked up once a second, and its streams are cut once the key
would be refused, or a user's own credential that a stream uses is gone."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gateway.domain.errors import Code, Denied, StoreError
from gateway.domain.keys.record import KeyRecord
from gateway.log import log
from gateway.services.admission.standing import Standing
from gateway.store.key_reader import KeyReader

SWEEP_SECONDS = 1.0
SHORTEST_REST = 0.1
# Records a round trip: 100 hold up the event loop for about 1 ms, 10,000 for 100 ms.
BATCH = 100

# Ends a stream, and tells its caller why where the protocol can say so.
Cut = Callable[[Denied], None]


class Inflight:
    """Watches the keys of open streams. It polls, so that a revocation holds without any message
    having to arrive.

    `unchecked`: seconds for which streams go on while the store cannot be reached. `is_known`:
    whether a credential of that name exists.
    """

    def __init__(
        self,
        keys: KeyReader,
        clock: Callable[[], float],
        unchecked: float,
        is_known: Callable[[str], bool],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._is_known = is_known
        self._unchecked = unchecked
        self._asked_at: dict[str, float] = {}
        self._open: dict[str, dict[Cut, Standing]] = {}

    @contextmanager
    def stream(self, standing: Standing | None, cut: Cut) -> Iterator[None]:
        """Within this context, `cut` is called once `standing` is lost. None: no key is needed."""
        if standing is None:
            yield
            return
        self._asked_at.setdefault(standing.key_id, self._clock())
        mine = self._open.setdefault(standing.key_id, {})
        mine[cut] = standing
        try:
            yield
        finally:
            del mine[cut]
            if not mine:
                self._open.pop(standing.key_id, None)
                self._asked_at.pop(standing.key_id, None)

    async def watch(self) -> None:
        """Look up the keys of open streams, again and again, until cancelled."""
        rest = SWEEP_SECONDS
        while True:
            await asyncio.sleep(rest)
            began = self._clock()
            if self._open:
                with suppress(StoreError):
                    await self._sweep()
                self._cut_unchecked()
            # Looking up 10,000 keys takes most of a second, and each is due once a second.
            rest = max(SWEEP_SECONDS - (self._clock() - began), SHORTEST_REST)

    async def _sweep(self) -> None:
        now = await self._keys.now()
        ids = list(self._open)
        for start in range(0, len(ids), BATCH):
            found = await self._keys.known(ids[start : start + BATCH])
            for key_id, record in found.items():
                self._judge(key_id, record, now)
                if key_id in self._asked_at:
                    self._asked_at[key_id] = self._clock()

    def _judge(self, key_id: str, record: KeyRecord | None, now: float) -> None:
        for cut, standing in list(self._open.get(key_id, {}).items()):
            denied = standing.lost(record, now)
            if denied is None and not all(map(self._is_known, standing.owned)):
                denied = Denied(Code.CREDENTIAL_UNAVAILABLE)
            if denied is not None:
                log.info("stream_cut", key_id=key_id, code=denied.code)
                _end(cut, denied)

    def _cut_unchecked(self) -> None:
        """Cut streams whose keys could not be looked up for too long: the store, or the node of a
        cluster that holds the key, is away."""
        latest = self._clock() - self._unchecked
        late = [key_id for key_id, asked in self._asked_at.items() if asked <= latest]
        if late:
            log.warning("streams_cut", reason="the store has been away for too long")
        for key_id in late:
            for cut in list(self._open.get(key_id, ())):
                _end(cut, Denied(Code.STORE_UNAVAILABLE))


def _end(cut: Cut, denied: Denied) -> None:
    """Cut one stream; an error in doing so must not keep other streams from being cut."""
    try:
        cut(denied)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the others are to end
        # Neither text nor traceback: a stream may have a secret at hand.
        log.error("stream_not_cut", code=denied.code, error=type(problem).__name__)
