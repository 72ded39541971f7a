"""One request and its answer, as the handler sees them: plain data in, bytes out."""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic, time

from aiohttp import StreamReader
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage

from gateway.domain.audit.record import Named
from gateway.domain.errors import Code, Denied
from gateway.domain.traffic import Handled, Trace
from gateway.protocol.http.cors import Fields
from gateway.protocol.http.refusal import refusal
from gateway.protocol.http.reply import Reply, encode
from gateway.protocol.http.request import RequestHead, read_head
from gateway.protocol.mcp.rpc import Asked
from gateway.protocol.mcp.rpc import refusal as rpc_refusal
from gateway.proxy.caller import Caller
from gateway.proxy.large import Holding
from gateway.services.admission.passage import Passage

_REQUEST_ID = "X-Request-Id"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_VERSIONS = (HttpVersion10, HttpVersion11)


class Exchange:
    """Writes in the order in which they are asked for; `started` once an answer has begun.

    For the record of it: `status` of the answer, 0 before there is one; the `code` of a refusal;
    bytes of the body `received`, and of the answer `sent`; whose key it was, and the agent's name;
    `cut`, whether the answer was ended before its end; monotonic times, when it `began`, was
    `admitted` and `answered` by the agent. `unseen`: a health check, which nobody wants to count.
    `logged_path`: in place of its own, where that is a secret.
    `page_fields`: what lets a page of another site read the answer. `limits`: header lines about
    what was charged, for an answer that is the gateway's own. `held`: its body, where that had to
    be read to know where it goes; `holding`: how much of bodies is in memory for it. `hide_usage`:
    the gateway has put into it that the answer is to end with its usage. `asked`: what it asks of a
    server of tools. `uses`: the credentials that are put into it, once that is on record; `tool`:
    which one was called then, and `responded`: its response is on its way to the caller. `user`:
    for whom it is. `shadow`: the code with which a rule that is tried out would have refused it.
    `trace`: its place in one, if somebody traces. `give_back`: ends what it holds of its key's
    `concurrency`.
    """

    # As attributes of the class: most requests never set most of them.
    request_id = key_id = consumer = agent = code = decoy = shadow = logged_path = tool = user = ""
    status = received = sent = 0
    started = cut = unseen = responded = _awaits_continue = False
    admitted: float | None = None
    answered: float | None = None
    page_fields: Fields = ()
    held: bytes | None = None
    holding: Holding | None = None
    hide_usage = False
    asked: Asked | None = None
    trace: Trace | None = None
    give_back: Callable[[], None] | None = None
    uses: tuple[Named, ...] = ()
    limits = b""
    _waited = 0.0

    def __init__(self, client: Caller, message: RawRequestMessage, payload: StreamReader) -> None:
        self.client = client
        self.message = message
        self.method = message.method
        self.http10 = message.version == HttpVersion10
        # After an upgrade that was not taken, the parser cannot tell where the next one begins.
        self._persistent = not (message.should_close or message.upgrade)
        self.began = monotonic()
        self._payload = payload

    def read_head(self) -> RequestHead:
        """Return the head of the request; raise Denied if its shape is refused."""
        message = self.message
        if message.version not in _VERSIONS:
            raise Denied(Code.BAD_REQUEST, "The gateway speaks HTTP/1.0 and HTTP/1.1.", close=True)
        return read_head(self.method, self.target, message.raw_headers, http10=self.http10)

    @property
    def target(self) -> bytes:
        return self.message.path.encode("utf-8", "surrogateescape")

    @property
    def body_arrived(self) -> bool:
        """Whether the whole body has been received."""
        return self._payload.is_eof()

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._persistent and not self.client.closing

    @property
    def reusable(self) -> bool:
        return self.started and self.keep_alive and self._payload.is_eof()

    @property
    def gone(self) -> bool:
        """Whether the caller is."""
        return self.client.transport is None

    def let_in(self, passage: Passage) -> None:
        """Its limits were charged, and whatever follows, its answer tells of them."""
        self.key_id, self.consumer = passage.key_id, passage.consumer
        self.shadow, self.limits = passage.shadow, passage.limits
        self.admitted = monotonic()

    def refused(self, denied: Denied) -> None:
        """For the record: why, and whose key it was if that was proven."""
        self.code, self.decoy = denied.denial.name, self.decoy or denied.decoy
        if denied.key_id:
            self.key_id, self.consumer = denied.key_id, denied.consumer

    def refusal(self, denied: Denied) -> Reply:
        """How this caller reads a refusal."""
        if self.asked is None:
            return refusal(denied, self.request_id)
        # Identity comes before the body: whether it was there already is not to show.
        rpc_id = None if denied.denial.status == 401 else self.asked.id
        return rpc_refusal(denied, self.request_id, rpc_id)

    def handled(self) -> Handled:
        """All that is known of it at its end."""
        began, admitted, answered = self.began, self.admitted, self.answered
        rpc = None if self.asked is None else self.asked.rpc
        return Handled(
            time(),
            self.request_id,
            self.method,
            self.logged_path or self.message.path.partition("?")[0],
            self.agent,
            self.key_id,
            self.consumer,
            self.status,
            self.code,
            self.cut,
            self.received,
            self.sent,
            None if admitted is None else admitted - began,
            None if answered is None else answered - began,
            monotonic() - began,
            self.decoy,
            self.tool,
            self.user,
            self.shadow,
            self.trace,
            "" if rpc is None else rpc.tool,
            self.uses,
        )

    def let_go(self) -> None:
        """It has ended: of its body nothing stays, though the connection may keep the rest."""
        self.held = None
        if self.asked is not None:
            self.asked.rpc = None
        if self.holding is not None:
            self.holding.end()

    def close_after(self) -> None:
        """The connection ends with this answer."""
        self.client.closing = True

    def expect_continue(self) -> None:
        """The caller sends its body once it is told to go on (RFC 9110 section 10.1.1)."""
        self._awaits_continue = not (self.body_arrived or self.http10)

    def buffered_body(self) -> bytes:
        """Return the part of the body that has already been received, without waiting."""
        body = self._payload.read_nowait()
        self.received += len(body)
        return body

    async def read_body(self) -> bytes:
        """The next piece of the body, empty at its end; Denied if it is malformed or too slow."""
        if self._awaits_continue:
            self._awaits_continue = False
            if not self.started:
                self.client.write(_CONTINUE)
        limits, deadline = self.client.limits, self.client.deadline
        # Drops that come just in time would otherwise be waited for without end.
        credit = limits.body_idle + self.received / limits.body_rate - self._waited
        deadline.set(max(0.0, min(limits.body_idle, credit)))
        began = monotonic()
        piece = await self._payload.readany()
        deadline.clear()
        self._waited += monotonic() - began
        self.received += len(piece)
        return piece

    def cut_body(self, code: Code) -> None:
        """Read no more of the body: the key that it came with would be refused."""
        if not self.body_arrived:
            self._payload.set_exception(Denied(code, close=True))

    def begin(self, status: int, data: bytes) -> None:
        """Write the head of the answer, and maybe more."""
        self.started = True
        self.status = status
        self.sent += len(data)
        self.client.write(data)

    def reply(self, reply: Reply) -> None:
        """Answer with `reply`; the connection ends with it if the request was not read whole."""
        if not self.body_arrived:
            self.close_after()
        added = self.page_fields + _fields(self.limits)
        if all(name != _REQUEST_ID for name, _ in reply.headers):
            added += ((_REQUEST_ID, self.request_id), ("request-id", self.request_id))
        if added:
            reply = replace(reply, headers=reply.headers + added)
        with_body = self.method != "HEAD"
        self.begin(reply.status, encode(reply, keep_alive=self.keep_alive, with_body=with_body))

    async def write(self, data: bytes) -> None:
        """Write more of the answer, no faster than the caller reads."""
        client = self.client
        self.sent += len(data)
        client.write(data)
        if client.writing_paused:
            await client.until_taken()

    def ending(self) -> None:
        """What is written next is the end of the answer. Its caller may ask for the next thing at
        once, at another worker, and is to find its place free there."""
        if self.give_back is not None:
            give_back, self.give_back = self.give_back, None
            give_back()

    def left(self) -> None:
        """The caller has gone before the end of its answer. Of a tool it may need no more than the
        response, with which official clients go."""
        self.cut = self.cut or (bool(self.tool) and not self.responded)

    def abort(self) -> None:
        """Cut the answer so that it cannot look whole."""
        self.cut = True
        self.client.abort()


def _fields(lines: bytes) -> Fields:
    """Header lines, each ended by CRLF, as names and values."""
    pairs = (line.partition(": ") for line in lines.decode("ascii").splitlines())
    return tuple((name, value) for name, _, value in pairs)
