"""Keys that would be let in now: those that a change of the policies is for."""

from collections.abc import AsyncIterator

from gateway.domain.keys.judgement import dead
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.store.key_reader import KeyReader


async def living(keys: KeyReader) -> AsyncIterator[KeyRecord]:
    """Their records, in the order of ids."""
    now = await keys.now()
    async for record in keys.read(await keys.ids()):
        if acceptable(record.hash) and dead(record, now) is None:
            yield record
