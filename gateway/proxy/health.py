"""`/livez` and `/readyz`: for load balancers and orchestrators, without a key."""

from collections.abc import Awaitable, Callable

import orjson

from gateway.protocol.http.reply import Reply
from gateway.protocol.http.request import RequestHead
from gateway.proxy.exchange import Exchange
from gateway.services.admission.locate import check_reading

READYZ = b"/readyz"

# Returns what the gateway still lacks to serve, one word each; empty: ready.
Readiness = Callable[[], Awaitable[tuple[str, ...]]]


async def answer_health(exchange: Exchange, head: RequestHead, readiness: Readiness) -> None:
    """Answer 200 while the process lives; to `/readyz` 503 while the gateway cannot serve."""
    check_reading(head)
    missing = await readiness() if head.target.path == READYZ else ()
    status = {"status": "unready", "missing": missing} if missing else {"status": "ok"}
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    exchange.reply(Reply(503 if missing else 200, headers, orjson.dumps(status)))
