"""The admin listener: `/metrics`, and what answers for operators."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from gateway.domain.errors import (
    Code,
    Denied,
    OperationError,
    StoreError,
    bad_request,
    scope_denied,
)
from gateway.domain.keys.scopes import Scope
from gateway.domain.policies.addresses import is_loopback
from gateway.domain.policies.snapshot import Policies
from gateway.domain.traffic import Handled
from gateway.protocol.http.chunks import LAST_CHUNK, chunk
from gateway.protocol.http.refusal import problem
from gateway.protocol.http.reply import Reply, Streamed, encode, encode_head
from gateway.protocol.http.request import RequestHead, read_partial_head
from gateway.proxy.client import ClientConnection
from gateway.proxy.exchange import Exchange
from gateway.proxy.ids import Ids
from gateway.proxy.uploads import read_whole
from gateway.services.admin_request import AdminRequest, AnswerAdmin
from gateway.services.admission.admit import Gatekeeper
from gateway.services.admission.locate import check_reading
from gateway.services.admission.passage import Identity
from gateway.services.audit.acts import asked_by
from gateway.services.telemetry.traffic import CONTENT_TYPE

METRICS = b"/metrics"
MAY_READ = Scope("gateway", "read", "read")
MAY_ALL = Scope("gateway", "admin", "admin")


class AdminHandler:
    """Serves the admin listener. `metrics` renders all metrics in Prometheus' text format.
    `keyless`: the listener is on loopback, where reading metrics takes no key. `answer` serves
    every other path. `on_denied` is told of each refused request."""

    def __init__(
        self,
        metrics: Callable[[], bytes],
        gatekeeper: Gatekeeper,
        policies: Callable[[], Policies],
        answer: AnswerAdmin,
        on_denied: Callable[[Sequence[Handled]], object],
        *,
        keyless: bool,
    ) -> None:
        self._metrics = metrics
        self._gatekeeper = gatekeeper
        self._policies = policies
        self._answer_admin = answer
        self._on_denied = on_denied
        self._keyless = keyless
        self._ids = Ids()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        request_id = exchange.request_id = self._ids.request_id()
        asked_by.set(request_id)
        try:
            await self._answer(exchange, request_id)
        except Denied as denied:
            exchange.note_refusal(denied)
            if denied.close:
                exchange.close_after()
            exchange.reply(problem(denied, request_id))
        if exchange.code:
            self._on_denied((exchange.handled(),))

    async def _answer(self, exchange: Exchange, request_id: str) -> None:
        head = exchange.read_head()
        if self._keyless and head.host and not is_loopback(head.host.strip("[]")):
            # DNS rebinding: a page whose own host name was made to resolve to this machine.
            told = "The Host header names another machine. Use 127.0.0.1 or localhost in the URL."
            raise bad_request(told)
        if head.target.path == METRICS:
            await self._show_metrics(exchange, head)
            return
        reply = await self._answer_admin(self._request(exchange, head, request_id))
        if reply is None:
            if not self._keyless:
                await self._identify(head, exchange)
            raise Denied(
                Code.NOT_FOUND, "There is nothing here but /metrics, /admin/v1/ and /console/."
            )
        if isinstance(reply, Streamed):
            await _stream(exchange, reply)
        else:
            exchange.code = reply.denied or exchange.code
            exchange.reply(reply)

    async def _show_metrics(self, exchange: Exchange, head: RequestHead) -> None:
        if not self._keyless:
            grants = (await self._identify(head, exchange)).grants
            if not (grants.allow(MAY_READ) or grants.allow(MAY_ALL)):
                raise scope_denied("gateway/read")
        check_reading(head)
        headers = (("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store"))
        exchange.reply(Reply(200, headers, self._metrics()))

    def _request(self, exchange: Exchange, head: RequestHead, request_id: str) -> AdminRequest:
        async def identify() -> Identity:
            return await self._identify(head, exchange)

        async def identify_key(key: str) -> Identity | None:
            try:
                return await self._identify(replace(head, keys=(key.encode(),)), exchange)
            except Denied as denied:
                if denied.denial.status == 503:
                    raise
                exchange.note_refusal(denied)
                return None

        async def read_body(most: int) -> bytes:
            if not head.has_body:
                return b""
            return await read_whole(exchange, head, most)

        cookies = {b"cookie": head.fields.get(b"cookie", b"")}
        return AdminRequest(
            head.method,
            head.target.path.decode("ascii"),
            head.target.query,
            {name.lower(): value for name, value in head.headers} | cookies,
            request_id,
            exchange.client.hop.scheme == "https",
            head.authority.decode("ascii", "replace"),
            identify,
            identify_key,
            read_body,
        )

    async def _identify(self, head: RequestHead, exchange: Exchange) -> Identity:
        policies = self._policies()
        address = exchange.address(head, policies)
        identity = await self._gatekeeper.identify(head, policies, address, is_use=True)
        exchange.key_id, exchange.consumer = identity.key_id, identity.consumer
        return identity

    def refuse(self, connection: ClientConnection, denied: Denied, received: bytes) -> None:
        """Answer a request whose head could not be read; the connection ends with the answer."""
        method, _, _ = read_partial_head(received)
        answer = problem(denied, self._ids.request_id())
        connection.write(encode(answer, keep_alive=False, with_body=method != "HEAD"))


async def _stream(exchange: Exchange, reply: Streamed) -> None:
    chunked = not exchange.http10
    if not (chunked and exchange.body_arrived):
        exchange.close_after()
    head = encode_head(reply, chunked=chunked, keep_alive=exchange.keep_alive)
    exchange.begin(reply.status, head)
    async with aclosing(reply.pieces) as pieces:
        if exchange.method == "HEAD":
            return
        try:
            async for piece in pieces:
                if exchange.gone:
                    # The task was cancelled for this, once, and redis-py can swallow that.
                    return
                await exchange.write(chunk(piece) if chunked else piece)
        except (StoreError, OperationError):
            exchange.abort()
            return
    if chunked:
        await exchange.write(LAST_CHUNK)
