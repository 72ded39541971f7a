"""Calls to services: what only the gateway knows goes in, and its use is recorded before."""

import asyncio
from dataclasses import replace

from gateway.crypto.signing import prepare
from gateway.domain.audit.record import AuditEvent
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.services import Inject, Scheme
from gateway.domain.policies.snapshot import Outbound
from gateway.protocol.inject import check_look_alikes, check_parameters, with_fields
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.large import Large
from gateway.proxy.metered import Metering
from gateway.proxy.scrubbed import RefusedCredentialError
from gateway.proxy.tools.errand import ToolErrand
from gateway.proxy.uploads import read_whole
from gateway.proxy.upstream.outgoing import Injection, Outgoing
from gateway.services.audit.writing import Audit
from gateway.services.credentials.inject import Injected, Injector, Values

# What has to be held whole, to be signed or to take a field, holds memory for as long.
LONGEST_HELD = 8 * 2**20


class Services:
    """Forwards admitted calls; each use of a credential has its audit record first."""

    def __init__(
        self, injector: Injector, audit: Audit, forwarder: Forwarder, large: Large
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
        may_pass_over: bool = False,
        metering: Metering | None = None,
        errand: ToolErrand | None = None,
    ) -> None:
        """`may_pass_over`: PassedOverError where another one should be asked instead. `metering`:
        counts what the answer takes. `errand`: what is sent and shown is up to it.

        Denied where a value cannot be had, its use cannot be recorded, or the service refuses
        every version of it."""
        if inject.sign is not None:
            await self._prepare(inject.sign.scheme)
        user = outgoing.head.user
        injected = self._injector.kept(service, inject, user)
        if injected is None:
            injected = await self._injector.values(service, inject, user)
        check_look_alikes(outgoing.head.headers, injected.newest.names)
        check_parameters(outgoing.head.target.query, injected.newest.query)
        body = None
        if errand is not None:
            errand.check(injected)
        elif outgoing.head.has_body:
            if exchange.holding is None and not exchange.body_arrived:
                exchange.holding = self._large.holding(exchange.key_id)
            body = await _held(exchange, outgoing, inject)
        injection = Injection(injected, body, may_pass_over, metering, errand)
        if await self._is_taken(exchange, outgoing, injection):
            return
        repeatable = errand is not None or body is not None or not outgoing.head.has_body
        other = await self._other(injected, service, inject, user) if repeatable else None
        if other is not None:
            if errand is not None:
                errand.check(other)
            injection = Injection(other, body, may_pass_over, metering, errand)
            if await self._is_taken(exchange, outgoing, injection):
                return
        raise Denied(Code.UPSTREAM_AUTH_FAILED)

    async def _other(
        self, injected: Injected, service: Outbound, inject: Inject, user: str | None
    ) -> Injected | None:
        """What to try once the newest was refused: a new token, what the vault has had since the
        last poll, or what was before."""
        if not self._injector.forget_tokens(injected):
            await self._injector.look_again()
        other = await self._injector.values(service, inject, user)
        if other.newest != injected.newest:
            return other
        if injected.previous is None:
            return None
        return replace(injected, newest=injected.previous, previous=None)

    async def _is_taken(self, exchange: Exchange, outgoing: Outgoing, injection: Injection) -> bool:
        """Send the request and answer; False: the service refused the credential, and nothing was
        answered yet."""
        values = injection.values
        if injection.errand is not None:
            injection.body = injection.errand.body(values)
        elif injection.body is not None and values.body:
            given = injection.body, outgoing.head.headers, values.body
            size = len(injection.body)
            injection.body = await self._large.do(exchange.key_id, size, with_fields, *given)
        await self.record(exchange, outgoing, values, injection.errand)
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

    async def record(
        self, exchange: Exchange, outgoing: Outgoing, values: Values, errand: ToolErrand | None
    ) -> None:
        """What is about to be done with which credentials; Denied(audit_unavailable)."""
        calls = errand is not None and errand.on_record
        # What goes into arguments goes into nothing else that is sent to a server of tools.
        uses = values.uses if errand is None or calls else values.uses_beside
        if not (uses or calls):
            # What a model that was asked before this one was to have is not in its answer.
            exchange.uses = ()
            return
        await self._audit.record(
            AuditEvent(
                "credential.use" if errand is None else errand.event,
                request_id=exchange.request_id,
                key_id=exchange.key_id,
                consumer=exchange.consumer,
                agent=outgoing.callee.place,
                user=outgoing.head.user or "",
                tool="" if errand is None else errand.tool,
                credentials=uses,
            )
        )
        exchange.uses = uses
        if errand is not None:
            exchange.tool = errand.tool


async def _held(exchange: Exchange, outgoing: Outgoing, inject: Inject) -> bytes | None:
    """The whole body, where it is there or has to be; None: it streams."""
    head, most = outgoing.head, outgoing.callee.max_body
    if exchange.held is not None:
        body = exchange.held
    elif exchange.body_arrived:
        body = exchange.buffered_body()
    elif inject.needs_body:
        most = min(most or LONGEST_HELD, LONGEST_HELD)
        body = await read_whole(exchange, most, expects=b"expect" in head.fields)
    else:
        return None
    if most is not None and len(body) > most:
        raise Denied(Code.BODY_TOO_LARGE, close=True)
    return body
