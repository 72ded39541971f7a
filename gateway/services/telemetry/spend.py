"""Charging tokens once it is known how many a call took."""

import asyncio
from dataclasses import dataclass

from gateway.domain.errors import StoreError
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.usage import TokensUsed
from gateway.log import log
from gateway.services.telemetry.usage import UsageBook
from gateway.store.admission import Admission
from gateway.tasks import Tasks

RETRY_SECONDS, GIVE_UP_SECONDS = 0.25, 30.0
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a call, and under which limits. `model`: its name in records, `models/gpt-4`."""

    request_id: str
    key_id: str
    consumer: str
    model: str
    tokens: tuple[NamedLimit, ...]


class Spender:
    """Charges in the background: no answer waits for it."""

    def __init__(self, admission: Admission, book: UsageBook) -> None:
        self._admission = admission
        self._book = book
        self._charging = Tasks()

    def spend(self, payer: Payer, used: TokensUsed) -> None:
        if used.total <= 0:
            return
        self._book.spend(payer.key_id, payer.consumer, payer.model, used)
        if payer.tokens:
            self._charging.begin(self._charge(payer, used.total))

    async def _charge(self, payer: Payer, amount: int) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + GIVE_UP_SECONDS
        count = self._admission.count_tokens
        reason = ""
        while loop.time() < ends:
            try:
                await count(payer.key_id, payer.tokens, amount, payer.request_id)
            except StoreError as problem:
                reason = str(problem)
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)
        log.error(
            "tokens_not_charged",
            key_id=payer.key_id,
            request_id=payer.request_id,
            tokens=amount,
            reason=reason,
        )

    async def close(self) -> None:
        """Finish the charges under way, if that takes no longer than CLOSE_SECONDS."""
        await self._charging.finish(CLOSE_SECONDS)
