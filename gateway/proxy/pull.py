"""`GET /v1/credentials`: agents that pull get the credentials that their key's scopes name."""

from dataclasses import replace
from time import monotonic

import orjson

from gateway.domain.audit.record import AuditEvent, Named
from gateway.domain.credentials import CredentialId
from gateway.domain.errors import Code, Denied, StoreError, not_allowed
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.http.reply import Reply
from gateway.protocol.http.request import RequestHead
from gateway.protocol.pull import CREDENTIALS_PATH, Pulling, read_pull
from gateway.proxy.exchange import Exchange
from gateway.services.admission.admit import Gatekeeper
from gateway.services.admission.locate import READING, Located, locate_pull
from gateway.services.admission.passage import Passage
from gateway.services.admission.standing import Standing
from gateway.services.audit.writer import Audit
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.pull import Pulled, pull
from gateway.store.key_reader import KeyReader

# How often a held-back answer checks whether the connection is to close.
LOOK_SECONDS = 0.5


class Pull:
    """Answers pulls. The audit record of a read is written before the value is sent."""

    def __init__(
        self, credentials: LiveCredentials, gatekeeper: Gatekeeper, keys: KeyReader, audit: Audit
    ) -> None:
        self._credentials = credentials
        self._gatekeeper = gatekeeper
        self._keys = keys
        self._audit = audit

    async def answer(self, exchange: Exchange, head: RequestHead, policies: Policies) -> None:
        """Answer with what has changed; 304 if nothing has by the end of the time it may wait."""
        address = exchange.address(head, policies)
        try:
            asked = read_pull(head)
        except Denied as malformed:
            denied = malformed if head.method in READING else not_allowed(READING)
            # The key is checked first, as everywhere: `admit` raises for a bad key.
            located = Located(None, CREDENTIALS_PATH, denied=denied)
            await self._gatekeeper.admit(head, located, policies, address)
            raise denied from None
        located = locate_pull(head, asked)
        passage = await self._gatekeeper.admit(head, located, policies, address)
        exchange.note_admission(passage)
        try:
            exchange.decoy = next(
                (name for name in asked.names if self._credentials.is_decoy(CredentialId(name))), ""
            )
            pulled = await self._pulled(exchange, asked, located, passage, head.user)
            if pulled.versions:
                await self._audit.record(_event(exchange, pulled, head.user))
            exchange.reply(_reply(pulled, asked))
        finally:
            self._gatekeeper.release(passage)

    async def _pulled(
        self,
        exchange: Exchange,
        asked: Pulling,
        located: Located,
        passage: Passage,
        user: str | None,
    ) -> Pulled:
        ids = tuple(CredentialId(name) for name in asked.names)
        await self._credentials.try_freshen(ids)
        if not self._credentials.ready:
            raise Denied(Code.CREDENTIAL_UNAVAILABLE)
        ends = monotonic() + asked.wait
        waited = False
        while not (pulled := pull(self._credentials, ids, asked.since)).news:
            left = ends - monotonic()
            if left <= 0 or exchange.client.closing:
                break
            waited = True
            await self._credentials.changed(min(left, LOOK_SECONDS))
        if waited and not pulled.news:
            # Credentials that must be fresh were so when the wait began.
            await self._credentials.try_freshen(ids)
            pulled = pull(self._credentials, ids, asked.since)
        if waited and pulled.news:
            await self._still_stands(located, passage, user)
        return pulled

    async def _still_stands(self, located: Located, passage: Passage, user: str | None) -> None:
        """Raise Denied if the key was revoked while the answer was held back."""
        try:
            record = await self._keys.get(passage.key_id)
            now = await self._keys.now()
        except StoreError:
            raise Denied(Code.STORE_UNAVAILABLE, retry_after=1) from None
        for scope in located.scopes:
            standing = Standing(passage.key_id, passage.proven, scope, user)
            denied = standing.lost(record, now)
            if denied is not None:
                raise replace(denied, key_id=passage.key_id, consumer=passage.consumer)


def _event(exchange: Exchange, pulled: Pulled, user: str | None) -> AuditEvent:
    return AuditEvent(
        "credential.read",
        request_id=exchange.request_id,
        key_id=exchange.key_id,
        consumer=exchange.consumer,
        user=user or "",
        credentials=tuple(Named(name, version) for name, version in pulled.versions),
        status=200,
        latency_ms=round((monotonic() - exchange.began) * 1000, 3),
    )


def _reply(pulled: Pulled, asked: Pulling) -> Reply:
    tag = f'"{pulled.revision}"'
    headers = (
        ("Cache-Control", "no-store"),
        ("ETag", tag),
        ("Age", str(pulled.age)),
    )
    # A credential that is not vouched for goes stale in the agent's cache, and only a body says so.
    if asked.since is not None and not pulled.news and pulled.vouched:
        return Reply(304, headers, b"")
    return Reply(200, (("Content-Type", "application/json"), *headers), orjson.dumps(pulled.body))
