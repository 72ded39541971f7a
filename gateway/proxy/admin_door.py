"""The admin listener, until it has an API: `/metrics`, and 404 for everything else."""

from collections.abc import Callable

from gateway.domain.errors import Code, Denied
from gateway.domain.policies import Policies
from gateway.domain.scopes import Scope
from gateway.protocol.refusal import problem
from gateway.protocol.reply import Reply, encode
from gateway.protocol.request import RequestHead
from gateway.proxy.client import ClientConnection
from gateway.proxy.exchange import Exchange
from gateway.proxy.handler import read_exchange
from gateway.proxy.ids import Ids
from gateway.services.admit import Gatekeeper
from gateway.services.locate import Located
from gateway.services.traffic import CONTENT_TYPE

METRICS = b"/metrics"
MAY_READ = Scope("gateway", "read", "read")


class AdminDoor:
    """`metrics`: all of them in Prometheus' text format. `keyless`: it is on loopback, where
    reading them takes no key."""

    def __init__(
        self,
        metrics: Callable[[], bytes],
        gatekeeper: Gatekeeper,
        policies: Callable[[], Policies],
        *,
        keyless: bool,
    ) -> None:
        self._metrics = metrics
        self._gatekeeper = gatekeeper
        self._policies = policies
        self._keyless = keyless
        self._ids = Ids()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        request_id = self._ids.request_id()
        try:
            await self._answer(exchange)
        except Denied as denied:
            if denied.close:
                exchange.close_after()
            exchange.reply(problem(denied, request_id))

    async def _answer(self, exchange: Exchange) -> None:
        head = read_exchange(exchange)
        if not self._keyless:
            await self._admit(head, exchange.client.hop.peer)
        if head.target.path != METRICS:
            raise Denied(Code.NOT_FOUND, "There is nothing at this address but /metrics.")
        if head.method not in ("GET", "HEAD"):
            raise Denied(Code.METHOD_NOT_ALLOWED, headers=(("Allow", "GET, HEAD"),))
        headers = (("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store"))
        exchange.reply(Reply(200, headers, self._metrics()))

    async def _admit(self, head: RequestHead, peer: str) -> None:
        policies = self._policies()
        await self._gatekeeper.admit(head, Located(None, b"", required=MAY_READ), policies, peer)

    def refuse(self, connection: ClientConnection, denied: Denied) -> None:
        """Answer what could not be read as a request; the connection ends with it."""
        answer = problem(denied, self._ids.request_id())
        connection.write(encode(answer, keep_alive=False))
