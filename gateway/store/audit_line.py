"""The audit stream on a connection of its own, written as the hot path writes: a tenth of what
redis-py takes for a command."""

from collections.abc import Sequence

from gateway.domain.errors import StoreError
from gateway.store.audit import FIELD, MOST_RECORDS
from gateway.store.line import pack
from gateway.store.multiplex import Multiplexer

# One command and one reply for all of them: a transaction of as many took three times as long.
# The stream is no KEY of it: whoever may only append to it may not name it there.
_ADD = f"""\
for i = 2, #ARGV do
  redis.call('XADD', ARGV[1], 'MAXLEN', '~', {MOST_RECORDS}, '*', '{FIELD}', ARGV[i])
end
return #ARGV - 1"""


class AuditLine:
    """`lines` is this object's own: what goes together stays together on it."""

    def __init__(self, lines: Multiplexer, prefix: str = "gw:") -> None:
        self._lines = lines
        self._name = f"{prefix}audit"

    async def append(self, records: Sequence[str]) -> None:
        """All of these, in this order, or none; StoreError where that is not certain."""
        if await self._lines.call(pack("EVAL", _ADD, 0, self._name, *records)) != len(records):
            raise StoreError("Redis did not take an audit record.")

    async def close(self) -> None:
        await self._lines.close()
