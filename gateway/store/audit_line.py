"""The audit stream on a connection of its own, written as the hot path writes: a tenth of what
redis-py takes for a command."""

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import StoreError
from gateway.store.audit import FIELD, MOST_RECORDS
from gateway.store.line import pack
from gateway.store.multiplex import Multiplexer


class AuditLine:
    """`lines` is this object's own: what goes together stays together on it."""

    def __init__(self, lines: Multiplexer, prefix: str = "gw:") -> None:
        self._lines = lines
        self._name = f"{prefix}audit"

    async def append(self, records: Sequence[str]) -> None:
        """All of these, in this order, or none; StoreError where that is not certain."""
        name = self._name
        commands = [
            pack("XADD", name, "MAXLEN", "~", MOST_RECORDS, "*", FIELD, record)
            for record in records
        ]
        if len(commands) > 1:
            commands = [pack("MULTI"), *commands, pack("EXEC")]
        replies = await asyncio.gather(*map(self._lines.call, commands), return_exceptions=True)
        last = replies[-1]
        inside = last if isinstance(last, list) else []
        for reply in (*replies, *inside):
            if isinstance(reply, StoreError):
                raise reply
            _check(reply)

    async def close(self) -> None:
        await self._lines.close()


def _check(reply: Any) -> None:
    if reply is None or isinstance(reply, Exception):
        raise StoreError("Redis did not take an audit record.")
