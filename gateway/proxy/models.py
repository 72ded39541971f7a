"""Calls of models: routed by the `model` in the body, sent with the gateway's credentials."""

from functools import partial

import orjson

from gateway.domain.errors import Code, Denied, drop_traceback, not_allowed
from gateway.domain.keys.scopes import DEFAULT_ACTION, Scope
from gateway.domain.policies.services import Dialect
from gateway.domain.policies.snapshot import Model, Policies
from gateway.protocol.http.reply import Reply
from gateway.protocol.http.request import Header, RequestHead
from gateway.protocol.models.request import (
    ModelPath,
    Prompt,
    catalogue,
    check_query,
    entry,
    read_path,
    read_prompt,
    sent_as_read,
)
from gateway.protocol.models.usage import with_usage_report
from gateway.protocol.policy.outbound import LONGEST_PROMPT
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import UPSTREAM_FAILED
from gateway.proxy.large_bodies import LargeBodies
from gateway.proxy.metered import Metering
from gateway.proxy.scrubbed import FallbackError
from gateway.proxy.services import Services
from gateway.proxy.uploads import Uploads
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.admission.admit import Gatekeeper
from gateway.services.admission.locate import (
    NO_SUCH_MODEL,
    READING,
    Located,
    locate_model,
    locate_no_model,
)
from gateway.services.admission.passage import Identity
from gateway.services.telemetry.spend import Payer, Spender

# The model was not asked, or failed before it answered: its fallback may be asked.
_CANNOT_ANSWER = UPSTREAM_FAILED | {Code.CREDENTIAL_UNAVAILABLE, Code.BUSY}


class Models:
    """Answers requests for the list of models, and routes calls to models."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        services: Services,
        spender: Spender,
        large: LargeBodies,
        uploads: Uploads,
    ) -> None:
        self._large = large
        self._uploads = uploads
        self._spender = spender
        self._gatekeeper = gatekeeper
        self._services = services

    async def find(
        self, exchange: Exchange, head: RequestHead, policies: Policies
    ) -> Located | None:
        """Return where the request goes; None: it asked for the list of models, and is answered.

        The key is checked before the body is read.
        """
        asked = read_path(head.target.path)
        address = exchange.address(head, policies)
        caller = await self._gatekeeper.identify(head, policies, address)
        if asked.listed is not None:
            await self._list(exchange, head, asked, policies, caller, address)
            return None
        if head.method != "POST" or not asked.is_call:
            return locate_no_model(asked)
        check_query(head.target.query)
        body = await self._uploads.read(exchange, head, caller, LONGEST_PROMPT)
        prompt, telling = await self._large.run(
            caller.key_id, len(body), _read, asked, head.headers, body
        )
        exchange.held, exchange.hide_usage = telling or body, telling is not None
        head.headers = sent_as_read(head.headers)
        return locate_model(asked, prompt.model, policies, prompt.beside)

    async def _list(
        self,
        exchange: Exchange,
        head: RequestHead,
        asked: ModelPath,
        policies: Policies,
        caller: Identity,
        address: str,
    ) -> None:
        """Answer with the list of models, or one entry of it, charged as any request."""
        names, denied = _names(asked, policies, caller), None
        if head.method not in READING:
            denied = not_allowed(READING)
        elif asked.listed and asked.listed not in names:
            denied = Denied(Code.NOT_FOUND, NO_SUCH_MODEL)
        located = Located(None, b"", denied=denied, any_key=True)
        passage = await self._gatekeeper.admit(head, located, policies, address)
        exchange.note_admission(passage)
        self._gatekeeper.release(passage)
        dialect = asked.dialect
        told = entry(asked.listed, dialect) if asked.listed else catalogue(names, dialect)
        exchange.reply(Reply(200, (("Content-Type", "application/json"),), orjson.dumps(told)))

    async def forward(
        self, exchange: Exchange, outgoing: Outgoing, first: Model, policies: Policies
    ) -> None:
        """Ask the model, and its fallbacks where it cannot answer."""
        # Policies with a fallback that does not exist are never in force.
        chain = [first, *(policies.models[name] for name in first.fallback)]
        for model in chain:
            last = model is chain[-1]
            try:
                await self._ask(exchange, outgoing, model, last=last)
            except FallbackError:
                continue
            except Denied as denied:
                if not last and denied.code in _CANNOT_ANSWER and not exchange.started:
                    drop_traceback(denied)
                    # The use of a decoy is recorded, whichever model answers now.
                    exchange.decoy = exchange.decoy or denied.decoy
                    continue
                raise
            return

    async def _ask(
        self, exchange: Exchange, outgoing: Outgoing, model: Model, *, last: bool
    ) -> None:
        outgoing.callee = model
        passage = outgoing.passage
        payer = Payer(
            exchange.request_id, passage.key_id, passage.consumer, model.place, passage.tokens
        )
        metering = Metering(
            outgoing.located.path,
            len(exchange.held or b""),
            hide=exchange.hide_usage,
            on_used=partial(self._spender.spend, payer),
        )
        await self._services.forward(
            exchange, outgoing, model, model.inject, may_fall_back=not last, metering=metering
        )


def _read(asked: ModelPath, headers: list[Header], body: bytes) -> tuple[Prompt, bytes | None]:
    """Return what the body asks for, and the body that also asks for a usage report; None: the body
    can be sent as it is."""
    prompt = read_prompt(body, headers)
    if asked.dialect is not Dialect.OPENAI:
        return prompt, None
    return prompt, with_usage_report(asked.path, body, prompt.members)


def _names(asked: ModelPath, policies: Policies, caller: Identity) -> list[str]:
    """Return the names of the models that the caller may use."""
    return [
        model.name
        for model in policies.models.values()
        # OpenAI's list has models of both dialects; Anthropic's clients can call only their own.
        if asked.dialect in (Dialect.OPENAI, model.dialect)
        and caller.grants.allow(Scope("models", model.name, DEFAULT_ACTION))
    ]
