"""Listeners: their connections, their certificate, and their drain."""

import asyncio
import select
import socket
from typing import Any

from gateway.crypto.tls import server_context, stamps
from gateway.domain.errors import OperationError
from gateway.domain.settings import Address, ListenerLimits, ServerTls
from gateway.log import log
from gateway.proxy.acceptor import Acceptor
from gateway.proxy.client import PARSERS_COMPILED, Callbacks, ClientConnection
from gateway.proxy.connections import Connections
from gateway.proxy.outbox import Outbox
from gateway.proxy.sockets import address_of, bound, cannot_listen
from gateway.proxy.tunnel import LAST_WORDS_SECONDS
from gateway.tasks import cancel_and_wait

BACKLOG = 1024
RENEW_SECONDS = 2.0
BACKLOG_SECONDS = 0.5
# Turns of the event loop until an accepted socket has become a connection.
ACCEPT_TURNS = 3
# A caller may be sending a request on an idle connection, which closing it at once would lose.
LAST_REQUEST_SECONDS = 0.5


class Certificate:
    """The certificate of a TLS listener. `renew` loads it from disk again, for new handshakes."""

    def __init__(self, files: ServerTls) -> None:
        """OperationError if the files cannot be used."""
        self._files = files
        self._stamps = stamps(files.cert, files.key)
        self._refused = self._stamps
        self.context = server_context(files.cert, files.key)

    def renew(self) -> None:
        """Load the files if they have changed; an invalid pair leaves the previous one in use.

        It is tried again: what kept it from being read, such as a want of files, may be over.
        """
        now = stamps(self._files.cert, self._files.key)
        if now == self._stamps:
            return
        try:
            # In a new context: a context keeps one certificate for each type of key, so a new RSA
            # certificate would be ranked behind the old ECDSA one.
            self.context = server_context(self._files.cert, self._files.key)
        except OperationError as problem:
            if now != self._refused:
                log.warning("certificate_refused", reason=str(problem))
            self._refused = now
        else:
            log.info("certificate_renewed", cert=self._files.cert)
            self._stamps = now

    async def watch(self) -> None:
        """Renew forever."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            self.renew()


class Listener:
    """One address to listen on, and its open `connections`.

    `sockets`: already bound by the supervisor, which keeps them; empty: bind own ones.
    """

    def __init__(
        self,
        address: Address,
        limits: ListenerLimits,
        callbacks: Callbacks,
        outbox: Outbox,
        certificate: Certificate | None = None,
        sockets: tuple[socket.socket, ...] = (),
    ) -> None:
        self._address = address
        self._limits = limits
        self._callbacks = callbacks
        self._certificate = certificate
        self.connections = Connections()
        self._outbox = outbox
        self._given = sockets
        self._acceptors: list[Acceptor] = []
        self._draining = False

    @property
    def address(self) -> Address:
        """The address it listens on; for port 0, with the port that the system chose."""
        if not self._acceptors or not self._acceptors[0].sockets:
            return self._address
        return Address(self._address.host, address_of(self._acceptors[0].sockets).port)

    async def start(self) -> None:
        """Begin to accept; AddressTakenError or another OperationError if it cannot listen."""
        if not PARSERS_COMPILED:
            raise OperationError(
                "aiohttp is installed without its compiled parsers, which refuse bad requests: "
                "install its wheel for this platform, and do not set AIOHTTP_NO_EXTENSIONS."
            )
        shared, most = bool(self._given), self._limits.max_connections
        self._acceptors = [
            Acceptor(one, self._accept, self._tls, most=most, shared=shared)
            for one in self._given or await bound(self._address)
        ]
        try:
            for acceptor in self._acceptors:
                acceptor.start(BACKLOG)
        except OSError as problem:
            for acceptor in self._acceptors:
                acceptor.close()
            raise cannot_listen(self._address, problem) from None

    def _tls(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        # A slow handshake holds a connection just as a slow request head does.
        return {"ssl": self._certificate.context, "ssl_handshake_timeout": self._limits.head}

    def announce_end(self) -> None:
        """Let every connection, including new ones, carry one more request, whose answer says
        `Connection: close`: so a load balancer that asks `/readyz` on one learns of the end."""
        self._draining = True
        for connection in self.connections:
            connection.close_after_next()

    async def drain(self, seconds: float) -> int:
        """Accept no more connections and wait at most `seconds` for running requests; return how
        many answers were cut."""
        self.announce_end()
        await _accept_backlog(self._acceptors, min(seconds, BACKLOG_SECONDS))
        for acceptor in self._acceptors:
            acceptor.close()
        # Sockets accepted just before have become connections only now.
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        for connection in self.connections:
            connection.close_after_next()
        await self._finish(seconds)
        running = [connection for connection in self.connections if connection.busy]
        leaving = [connection.ended for connection in running if connection.end_now()]
        if leaving:
            await asyncio.wait(leaving, timeout=LAST_WORDS_SECONDS)
        for connection in list(self.connections):
            connection.close()
        # What they use is closed next: a connection to Redis that is opened later stays open.
        await cancel_and_wait(*self.connections.tasks)
        return len(running)

    def _accept(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        connection = ClientConnection(
            loop, self._limits, self._callbacks, self.connections, self._outbox
        )
        if self._draining:
            connection.close_after_next()
        return connection

    async def _finish(self, seconds: float) -> None:
        """Wait until no request runs, and a moment for requests on their way, at most `seconds`."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        rests = loop.time() + min(seconds, LAST_REQUEST_SECONDS)
        while self.connections:
            running = [connection for connection in self.connections if connection.busy]
            left = (ends if running else rests) - loop.time()
            if left <= 0:
                return
            ended = [connection.ended for connection in running or self.connections]
            await asyncio.wait(ended, timeout=left)


async def _accept_backlog(acceptors: list[Acceptor], seconds: float) -> None:
    """Accept what waits in the kernel's backlog: closing the socket would reset it."""
    waiting = select.poll()
    for listening in (one for acceptor in acceptors for one in acceptor.sockets):
        waiting.register(listening.fileno(), select.POLLIN)
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends and waiting.poll(0):  # noqa: ASYNC110 (the loop accepts them)
        await asyncio.sleep(0)
