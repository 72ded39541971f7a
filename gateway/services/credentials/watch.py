"""The state of credentials for operators: metrics, and lines in the log."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from gateway.domain.credentials import Credential, CredentialId
from gateway.log import log
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.views import State, state_of
from gateway.services.telemetry.traffic import Traffic

LOOK_SECONDS = 2.0
# A coming expiry is logged once a day, a past one once an hour.
WARN_INTERVALS = {State.EXPIRING: 86_400.0, State.EXPIRED: 3_600.0}


class CredentialWatch:
    def __init__(
        self,
        credentials: LiveCredentials,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._traffic = traffic
        self._clock = clock
        self._warned_at: dict[tuple[CredentialId, State], float] = {}

    async def watch(self) -> None:
        """Look again and again. Never ends by itself."""
        while True:
            self.check()
            await asyncio.sleep(LOOK_SECONDS)

    def check(self) -> None:
        live = self._credentials
        now = live.now()
        states: Counter[State] = Counter()
        for one in live.known.values():
            state = state_of(one, now)
            states[State.BROKEN if one.id in live.broken else state] += 1
            if state in WARN_INTERVALS:
                self._warn(one, state)
        states[State.BROKEN] += len(live.broken.keys() - live.known.keys())
        for state in State:
            self._traffic.credentials.labels(state.value).set(states[state])
        self._traffic.credentials_age.set(live.age)

    def _warn(self, credential: Credential, state: State) -> None:
        """Log that a credential will expire, or has expired and is used all the same."""
        name, now = (credential.id, state), self._clock()
        if now - self._warned_at.get(name, float("-inf")) < WARN_INTERVALS[state]:
            return
        self._warned_at[name] = now
        event = f"credential_{state.value}"
        log.warning(event, name=str(credential.id), expires_at=credential.expires_at)
