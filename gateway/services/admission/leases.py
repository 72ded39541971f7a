"""Places among a key's requests under way: taken with the admission, given back at the end."""

import asyncio
import secrets
from itertools import count

from gateway.store.admission import LEASE_SECONDS, Admission, Lease
from gateway.tasks import background, end

RENEW_SECONDS = LEASE_SECONDS / 3
# Renewals are written in batches with a turn of the event loop between them.
BATCH = 100


class Leases:
    """The leases that this process holds. Those that live on are renewed until they are given
    back; a process that dies renews nothing, and its leases run out."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._prefix = secrets.token_hex(6)
        self._numbers = count()
        self._held: set[Lease] = set()
        self._renewing = background(self._renew_on())

    @property
    def held(self) -> int:
        return len(self._held)

    def take(self, names: tuple[str, ...]) -> Lease:
        """A lease to be sent along with an admission; from now on it has to be given back."""
        lease = Lease(f"{self._prefix}{next(self._numbers):x}", names)
        self._held.add(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """At the end of the request, or where it is not known whether it was admitted."""
        self._held.discard(lease)
        self._admission.give_back(lease)

    def forget(self, lease: Lease) -> None:
        """The request was not admitted, so there is nothing to give back."""
        self._held.discard(lease)

    async def close(self) -> None:
        await end(self._renewing)

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for number, lease in enumerate(list(self._held)):
                if lease in self._held:
                    self._admission.renew(lease)
                if number % BATCH == BATCH - 1:
                    await asyncio.sleep(0)
