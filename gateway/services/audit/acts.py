"""Acts on keys, credentials, users and policies: recorded first, in the name of their actor."""

from contextlib import suppress
from contextvars import ContextVar

from gateway.domain.audit.events import Event
from gateway.domain.audit.record import ALLOWED, DENIED, AuditEvent, Named
from gateway.domain.credentials import CredentialId
from gateway.domain.errors import AuditError, Denied, StoreError
from gateway.services.audit.writer import Audit

# The id of the request that asked for the act; empty: a command did.
asked_by: ContextVar[str] = ContextVar("asked_by", default="")


class Acts:
    """`actor`: `operator:ann`, `key:4xT9mQ2LrB7c` or `user:bob`."""

    def __init__(self, audit: Audit, actor: str) -> None:
        self._audit = audit
        self.actor = actor
        # How many acts are on record, minus those that were not done.
        self.done = 0

    async def record(
        self,
        event: Event,
        *,
        key_id: str = "",
        consumer: str = "",
        user: str = "",
        credentials: tuple[Named, ...] = (),
        decision: str = ALLOWED,
        code: str = "",
    ) -> None:
        """Write the record; AuditError if it cannot be written: the act must not be done then."""
        act = AuditEvent(
            event,
            request_id=asked_by.get(),
            key_id=key_id,
            consumer=consumer,
            user=user,
            credentials=credentials,
            decision=decision,
            code=code,
            actor=self.actor,
        )
        try:
            await self._audit.record(act)
        except Denied as denied:
            raise AuditError(
                "This was not done, because its audit record could not be written: "
                f"{denied.__cause__}"
            ) from denied.__cause__
        self.done += 1 if decision == ALLOWED else -1

    async def on_credential(
        self, event: Event, name: CredentialId, version: int, code: str = ""
    ) -> None:
        """Record an act on one version of a credential. `code`: why one on record was not done."""
        named = (Named(str(name), version),)
        decision = DENIED if code else ALLOWED
        await self.record(event, user=name.owner, credentials=named, decision=decision, code=code)

    async def not_done(self, event: Event, code: str, *, key_id: str, consumer: str) -> None:
        """Record that an act that is already on record was not done, and why. If this cannot be
        written, nothing changes."""
        with suppress(StoreError):
            await self.record(event, key_id=key_id, consumer=consumer, decision=DENIED, code=code)
