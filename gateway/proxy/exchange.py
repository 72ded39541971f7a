"""One request and its answer, as the handler sees them: plain data in, bytes out."""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic, time

from aiohttp import StreamReader
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage

from gateway.domain.audit.record import Named
from gateway.domain.errors import Denied, bad_request
from gateway.domain.policies.snapshot import Policies
from gateway.domain.traffic import Handled, Trace
from gateway.protocol.http.cors import Fields
from gateway.protocol.http.error_event import error_event
from gateway.protocol.http.refusal import refusal
from gateway.protocol.http.reply import Reply, encode
from gateway.protocol.http.request import AMBIGUOUS_BODY, RequestHead
from gateway.protocol.http.upstream_request import client_address
from gateway.protocol.mcp.rpc import ToolRequest
from gateway.protocol.mcp.rpc import refusal as rpc_refusal
from gateway.proxy.caller import Caller
from gateway.proxy.large_bodies import BodyMemory
from gateway.services.admission.passage import Passage

_REQUEST_ID = "X-Request-Id"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_VERSIONS = (HttpVersion10, HttpVersion11)


class Exchange:
    """One request and its answer. `started`: an answer has begun.

    For logs, metrics and the audit: `status` of the answer, 0 before there is one; `code` of a
    refusal; bytes of the body `received`, and of the answer `sent`; `key_id` and `consumer` of the
    key; `agent`; `cut`: the answer was aborted before its end; monotonic times when it `began`, was
    `admitted`, and was `answered` by the agent; `user` it is for; `decoy`: a decoy that was used;
    `shadow`: the code with which a rule that is not enforced would have refused it; `trace`.
    `unrecorded`: a health check, which is not recorded. `logged_path`: logged in place of a path
    that is a secret.

    `cors_fields`: CORS headers of the answer. `limits`: header lines about rate limits, for an
    answer of the gateway's own. `held`: the body, where it had to be read to find the upstream;
    `memory`: how much memory its bodies take. `hide_usage`: the gateway, and not the caller, asked
    the model to report its usage. `tool_request`: the MCP message. `uses`: the injected
    credentials, once recorded; `tool`: the tool that was called with them; `responded`: its
    response has been passed on. `on_release`: releases its place of the key's `concurrency`.
    """

    # Class attributes, because most requests never set most of them.
    request_id = key_id = consumer = agent = code = decoy = shadow = logged_path = tool = user = ""
    status = received = sent = 0
    started = cut = unrecorded = responded = _awaits_continue = False
    admitted: float | None = None
    answered: float | None = None
    cors_fields: Fields = ()
    held: bytes | None = None
    memory: BodyMemory | None = None
    hide_usage = False
    tool_request: ToolRequest | None = None
    trace: Trace | None = None
    on_release: Callable[[], None] | None = None
    uses: tuple[Named, ...] = ()
    limits = b""
    _waited = 0.0

    def __init__(self, client: Caller, message: RawRequestMessage, payload: StreamReader) -> None:
        self.client = client
        self.message = message
        self.method = message.method
        self.http10 = message.version == HttpVersion10
        # Behind any other upgrade that is refused, the parser reads nothing.
        readable = not message.upgrade or message.headers.get("Upgrade", "").lower() == "h2c"
        self._persistent = readable and not message.should_close
        self.began = monotonic()
        self._payload = payload

    def read_head(self) -> RequestHead:
        """Return the head of the request; raise Denied if its shape is refused."""
        message = self.message
        if message.version not in _VERSIONS:
            raise bad_request("The gateway speaks HTTP/1.0 and HTTP/1.1.")
        head = self.client.heads.read(
            self.method, self.target, message.raw_headers, http10=self.http10
        )
        if head.chunked and not message.chunked:
            # The parser takes the body of an upgrade for none where a tab follows the coding.
            raise bad_request(AMBIGUOUS_BODY)
        return head

    def address(self, head: RequestHead, policies: Policies) -> str:
        """Return the caller's address, as trusted proxies tell it."""
        return client_address(head, self.client.hop.peer, policies.trusted_proxies)

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
        """Whether the caller has closed the connection."""
        return self.client.transport is None

    def note_admission(self, passage: Passage) -> None:
        """Note that the request was admitted and charged: any answer tells of its limits."""
        self.key_id, self.consumer = passage.key_id, passage.consumer
        self.shadow, self.limits = passage.shadow, passage.limits
        self.admitted = monotonic()

    def note_refusal(self, denied: Denied) -> None:
        """Note why the request was refused, and whose key it was if that was proven."""
        self.code, self.decoy = denied.denial.name, self.decoy or denied.decoy
        if denied.key_id:
            self.key_id, self.consumer = denied.key_id, denied.consumer

    def refusal(self, denied: Denied) -> Reply:
        """Return the refusal in the form that this caller reads: JSON-RPC or plain."""
        if self.tool_request is None:
            return refusal(denied, self.request_id)
        # Identity is decided before the body is read: a 401 must not show whether it was received.
        stranger = denied.denial.status == 401 and self.admitted is None
        rpc_id = None if stranger else self.tool_request.id
        return rpc_refusal(denied, self.request_id, rpc_id)

    def last_event(self, denied: Denied) -> bytes:
        """Return an event that tells why an event stream ends, in the form that this caller reads.

        MCP clients pass over an `event: error`, and would wait for the response.
        """
        request = self.tool_request
        if request is None or request.id is None or self.responded:
            return error_event(denied)
        return b"event: message\ndata: %b\n\n" % self.refusal(denied).body

    def handled(self) -> Handled:
        """Return what logs, metrics and the audit are told of the request."""
        began, admitted, answered = self.began, self.admitted, self.answered
        rpc = None if self.tool_request is None else self.tool_request.rpc
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

    def release_memory(self) -> None:
        """Free the memory of the body: the connection may keep this object."""
        self.held = None
        if self.tool_request is not None:
            self.tool_request.rpc = None
        if self.memory is not None:
            self.memory.end()

    def close_after(self) -> None:
        """Close the connection after this answer."""
        self.client.closing = True

    def expect_continue(self) -> None:
        """Send 100 Continue before the body is read (RFC 9110 section 10.1.1)."""
        self._awaits_continue = not (self.body_arrived or self.http10)

    def buffered_body(self) -> bytes:
        """Return the part of the body that has already been received, without waiting."""
        body = self._payload.read_nowait()
        self.received += len(body)
        return body

    async def read_body(self) -> bytes:
        """Return the next piece of the body, empty at its end. Raise Denied if the body is
        malformed or too slow."""
        if self._awaits_continue:
            self._awaits_continue = False
            if not self.started:
                self.client.write(_CONTINUE)
        limits, deadline = self.client.limits, self.client.deadline
        # Otherwise a caller that sends a byte just in time, again and again, never times out.
        credit = limits.body_idle + self.received / limits.body_rate - self._waited
        deadline.set(max(0.0, min(limits.body_idle, credit)))
        began = monotonic()
        piece = await self._payload.readany()
        deadline.clear()
        self._waited += monotonic() - began
        self.received += len(piece)
        return piece

    def cut_body(self, denied: Denied) -> None:
        """Stop reading the body, because its key would be refused by now."""
        if not self.body_arrived:
            self._payload.set_exception(replace(denied, close=True))

    def begin(self, status: int, data: bytes) -> None:
        """Write the head of the answer, and perhaps the beginning of its body."""
        self.started = True
        self.status = status
        self.sent += len(data)
        self.client.write(data)

    def reply(self, reply: Reply) -> None:
        """Answer with `reply`; close the connection after it if the request was not read whole."""
        if not self.body_arrived:
            self.close_after()
        added = self.cors_fields + _fields(self.limits)
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
            await client.drain_in_time()

    def release_lease(self) -> None:
        """Release the place of `concurrency`; called before the end of the answer is written, since
        the caller may send its next request to another worker at once."""
        if self.on_release is not None:
            release, self.on_release = self.on_release, None
            release()

    def note_caller_left(self) -> None:
        """Note that the caller closed the connection before the end of the answer. For a tool's
        answer that is no cut once the response was sent: official MCP clients leave then."""
        self.cut = self.cut or (bool(self.tool) and not self.responded)

    def abort(self) -> None:
        """Reset the connection, so that the answer cannot look whole."""
        self.cut = True
        self.client.abort()


def _fields(lines: bytes) -> Fields:
    """Return header lines, each ended by CRLF, as pairs of name and value."""
    pairs = (line.partition(": ") for line in lines.decode("ascii").splitlines())
    return tuple((name, value) for name, _, value in pairs)
