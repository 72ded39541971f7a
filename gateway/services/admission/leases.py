"""Leases on a key's concurrency: taken at admission, given back at the end of the request."""

import asyncio
import secrets
from itertools import count

from gateway.store.admission import LEASE_SECONDS, Admission, Lease
from gateway.tasks import cancel_and_wait, unending

RENEW_SECONDS = LEASE_SECONDS / 3
# Renewals are written in batches, with a turn of the event loop between them.
BATCH = 100


class Leases:
    """The leases that this process holds. They are renewed until they are given back. A process
    that dies renews nothing, so its leases expire."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._prefix = secrets.token_hex(6)
        self._numbers = count()
        self._held: set[Lease] = set()
        self._renewing = unending(self._renew_on)

    @property
    def held(self) -> int:
        return len(self._held)

    def acquire(self, names: tuple[str, ...]) -> Lease:
        """Return a lease to send with an admission; it has to be given back or forgotten."""
        lease = Lease(f"{self._prefix}{next(self._numbers):x}", names)
        self._held.add(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back at the end, or if it is unknown whether it was admitted."""
        self._held.discard(lease)
        self._admission.release(lease)

    def forget(self, lease: Lease) -> None:
        """Drop the lease of a request that was not admitted: there is nothing to give back."""
        self._held.discard(lease)

    async def close(self) -> None:
        await cancel_and_wait(self._renewing)

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for number, lease in enumerate(list(self._held)):
                if lease in self._held:
                    self._admission.renew(lease)
                if number % BATCH == BATCH - 1:
                    await asyncio.sleep(0)
