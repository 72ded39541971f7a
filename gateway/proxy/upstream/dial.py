"""New connections to upstreams: every address is checked before it is dialled."""

import asyncio
import re
import ssl
from collections.abc import Callable

from gateway.crypto.tls import ClientContexts
from gateway.domain.errors import Code, Denied, OperationError
from gateway.domain.policies.addresses import is_guarded, is_public
from gateway.domain.policies.snapshot import Upstream
from gateway.happy_eyeballs import connect_to_first
from gateway.log import log
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.reasons import ProxyError
from gateway.proxy.upstream.resolver import Resolver
from gateway.timers import timeout

LONGEST_TUNNEL_HEAD = 8192
# RFC 9110 section 9.3.6: any 2xx. Not every proxy sends a reason phrase.
_OPENED = re.compile(rb"HTTP/1\.[01] 2[0-9]{2}[ \r]")

Make = Callable[[], UpstreamConnection]


def _log_refused(reason: str) -> None:
    log.warning("certificate_refused", reason=reason)


class Dialer:
    """Connects to upstreams by name or address, with TLS and through a proxy where configured."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._contexts = ClientContexts(_log_refused)
        self._names = Resolver(loop)

    async def dial(self, upstream: Upstream, seconds: float, make: Make) -> UpstreamConnection:
        """Return a new connection; raise Denied(upstream_unreachable), from its cause, if none is
        made within `seconds`."""
        try:
            async with timeout(seconds):
                tls = self._contexts.get(upstream.tls) if upstream.scheme == "https" else None
                if upstream.proxy is not None:
                    return await self._through(upstream.proxy, upstream, tls, seconds, make)
                return await self._directly(upstream, tls, seconds, make)
        except (OperationError, OSError, TimeoutError, UnicodeError) as problem:
            # The TLS files cannot be used, or nobody is there; UnicodeError: the name cannot be
            # encoded for a lookup.
            raise Denied(Code.UPSTREAM_UNREACHABLE) from problem

    async def _directly(
        self, upstream: Upstream, tls: ssl.SSLContext | None, seconds: float, make: Make
    ) -> UpstreamConnection:
        reached = await connect_to_first(
            await self._addresses(upstream, seconds), upstream.port, seconds
        )
        name = upstream.host if tls is not None else None
        _, connection = await self._loop.create_connection(
            make, sock=reached, ssl=tls, server_hostname=name
        )
        return connection

    async def _addresses(self, upstream: Upstream, seconds: float) -> list[str]:
        """Return the addresses of the name that may be called. The address that is checked is the
        one that is dialled, so that DNS rebinding gains nothing."""
        addresses = await self._names.resolve(upstream.host, seconds)
        if not upstream.allow_link_local:
            addresses = [address for address in addresses if not is_guarded(address)]
        if upstream.public:
            addresses = [address for address in addresses if is_public(address)]
        if not addresses:
            raise OSError("the name stands for no address that may be called")
        return addresses

    async def _through(
        self,
        proxy: tuple[str, int],
        upstream: Upstream,
        tls: ssl.SSLContext | None,
        seconds: float,
        make: Make,
    ) -> UpstreamConnection:
        """Connect through a CONNECT tunnel (RFC 9110 section 9.3.6), so that over TLS the proxy
        sees neither request nor key."""
        try:
            transport, tunnel = await self._to_proxy(proxy, seconds)
        except OSError as problem:
            raise ProxyError("the proxy cannot be reached") from problem
        try:
            host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
            place = f"{host}:{upstream.port}"
            transport.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode("ascii"))
            await tunnel.opened
            return await self._take_over(transport, upstream, tls, make())
        except BaseException:
            transport.abort()
            raise

    async def _to_proxy(
        self, proxy: tuple[str, int], seconds: float
    ) -> tuple[asyncio.Transport, "_Tunnel"]:
        reached = await connect_to_first(
            await self._names.resolve(proxy[0], seconds), proxy[1], seconds
        )
        return await self._loop.create_connection(lambda: _Tunnel(self._loop), sock=reached)

    async def _take_over(
        self,
        transport: asyncio.Transport,
        upstream: Upstream,
        tls: ssl.SSLContext | None,
        connection: UpstreamConnection,
    ) -> UpstreamConnection:
        through: asyncio.Transport | None = transport
        if tls is not None:
            through = await self._loop.start_tls(
                transport, connection, tls, server_hostname=upstream.host
            )
        else:
            transport.set_protocol(connection)
        if through is None:
            raise OSError("the proxy closed the tunnel")
        connection.connection_made(through)
        return connection


class _Tunnel(asyncio.Protocol):
    """Reads the answer of a proxy to CONNECT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.opened.done():
            return
        if b"\r\n\r\n" in self._head:
            # Bytes behind the head would precede any request to the upstream, so they are refused.
            if _OPENED.match(self._head) and self._head.endswith(b"\r\n\r\n"):
                self.opened.set_result(None)
            else:
                self._fail("the proxy refused the tunnel")
        elif len(self._head) > LONGEST_TUNNEL_HEAD:
            self._fail("the proxy's answer does not end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the proxy closed the connection")

    def _fail(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(OSError(reason))
            self.opened.exception()
