"""Calls to services, models and tool servers: credentials are injected, and their use is recorded
before anything is sent."""

import asyncio
from dataclasses import replace

from gateway.crypto.signing import prepare
from gateway.domain.audit.record import AuditEvent
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.services import Inject, Scheme
from gateway.domain.policies.snapshot import Outbound
from gateway.protocol.inject import check_look_alikes, check_parameters, makes_body, with_fields
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.large_bodies import LargeBodies
from gateway.proxy.metered import Metering
from gateway.proxy.scrubbed import RefusedCredentialError
from gateway.proxy.tools.http_exchange import HttpMcpExchange
from gateway.proxy.uploads import read_whole
from gateway.proxy.upstream.outgoing import Injection, Outgoing
from gateway.services.audit.writer import Audit
from gateway.services.credentials.inject import Injected, Injector, Values

# The longest body that is held whole, to be signed or to have a field injected.
LONGEST_HELD = 8 * 2**20


class Services:
    """Forwards admitted calls with credentials injected."""

    def __init__(
        self, injector: Injector, audit: Audit, forwarder: Forwarder, large: LargeBodies
    ) -> None:
        self._large = large
        self._injector = injector
        self._audit = audit
        self._forwarder = forwarder
        self._prepared: set[Scheme] = set()

    async def forward(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        service: Outbound,
        inject: Inject,
        *,
        may_fall_back: bool = False,
        metering: Metering | None = None,
        mcp: HttpMcpExchange | None = None,
    ) -> None:
        """Answer with the answer of `service`. `may_fall_back`: raise FallbackError where another
        upstream should be asked. `metering`: counts the tokens. `mcp`: decides what is sent and
        shown.

        Raise Denied if a value is not available, its use cannot be recorded, or the service refuses
        every version of it."""
        if inject.sign is not None:
            await self._prepare(inject.sign.scheme)
        head, user = outgoing.head, outgoing.head.user
        injected = self._injector.cached(service, inject, user)
        if injected is None:
            injected = await self._injector.values(service, inject, user)
        check_look_alikes(head.headers, injected.newest.names)
        check_parameters(head.target.query, injected.newest.query)
        body = None
        if mcp is not None:
            mcp.check(injected)
        elif head.has_body or (inject.body and makes_body(head.method, head.headers)):
            if exchange.memory is None and not exchange.body_arrived:
                exchange.memory = self._large.memory_of(exchange.key_id)
            body = await _held(exchange, outgoing, inject)
        injection = Injection(injected, body, may_fall_back, metering, mcp)
        if await self._is_accepted(exchange, outgoing, injection):
            return
        repeatable = mcp is not None or body is not None or not head.has_body
        other = await self._other_values(injected, service, inject, user) if repeatable else None
        if other is not None:
            if mcp is not None:
                mcp.check(other)
            injection = Injection(other, body, may_fall_back, metering, mcp)
            if await self._is_accepted(exchange, outgoing, injection):
                return
        raise Denied(Code.UPSTREAM_AUTH_FAILED)

    async def _other_values(
        self, injected: Injected, service: Outbound, inject: Inject, user: str | None
    ) -> Injected | None:
        """Return the values to try once the newest were refused: a new token, what the vault got
        since the last poll, or the previous version."""
        if not self._injector.forget_tokens(injected):
            await self._injector.refresh()
        other = await self._injector.values(service, inject, user)
        if other.newest != injected.newest:
            return other
        if injected.previous is None:
            return None
        return replace(injected, newest=injected.previous, previous=None)

    async def _is_accepted(
        self, exchange: Exchange, outgoing: Outgoing, injection: Injection
    ) -> bool:
        """Send the request and answer; False: the service refused the credential, and nothing was
        answered yet."""
        values, mcp, tool = injection.values, injection.mcp, ""
        if mcp is not None:
            injection.body, tool = mcp.body(values), mcp.tool
        elif injection.body is not None and values.body:
            given = injection.body, outgoing.head.headers, values.body
            size = len(injection.body)
            injection.body = await self._large.run(exchange.key_id, size, with_fields, *given)
        fills_body = mcp is None and injection.body is not None
        await self.record_use(exchange, outgoing, values, tool, fills_body=fills_body)
        outgoing.injection = injection
        try:
            await self._forwarder.forward(exchange, outgoing)
        except RefusedCredentialError:
            return False
        return True

    async def _prepare(self, scheme: Scheme) -> None:
        if scheme not in self._prepared:
            await asyncio.to_thread(prepare, scheme)
            self._prepared.add(scheme)

    async def record_use(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        values: Values,
        tool: str,
        *,
        fills_body: bool = False,
    ) -> None:
        """Write the audit record of the credentials that are about to be used; raise
        Denied(audit_unavailable) if that fails. `tool`: the tool that is called, which is on record
        even where no credential is used; empty: none is."""
        # Values for arguments are sent with calls of tools alone, and those for fields in bodies.
        uses = values.uses if tool or fills_body else values.uses_beside
        if not (uses or tool):
            # The credential of a model that was asked before is not used in this answer.
            exchange.uses = ()
            return
        await self._audit.record(
            AuditEvent(
                "tool.call" if tool else "credential.use",
                request_id=exchange.request_id,
                key_id=exchange.key_id,
                consumer=exchange.consumer,
                agent=outgoing.callee.place,
                user=outgoing.head.user or "",
                tool=tool,
                credentials=uses,
            )
        )
        exchange.uses = uses
        if tool:
            exchange.tool = tool


async def _held(exchange: Exchange, outgoing: Outgoing, inject: Inject) -> bytes | None:
    """Return the whole body if it has been received or is needed whole; None: it streams."""
    head, most = outgoing.head, outgoing.callee.max_body
    if exchange.held is not None:
        body = exchange.held
    elif exchange.body_arrived:
        body = exchange.buffered_body()
    elif inject.needs_body:
        most = min(most or LONGEST_HELD, LONGEST_HELD)
        body = await read_whole(exchange, head, most)
    else:
        return None
    if most is not None and len(body) > most:
        raise Denied(Code.BODY_TOO_LARGE, close=True)
    return body
