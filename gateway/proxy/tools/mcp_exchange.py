"""One message to a tool server: what is sent of it, and what is shown of the messages that come
back."""

from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from gateway.crypto.sessions import Owner
from gateway.domain.audit.record import AuditEvent, Named
from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import masked
from gateway.domain.keys.scopes import Scope
from gateway.domain.policies.snapshot import ToolServer
from gateway.domain.policies.tools import SHORTEST_INJECTED
from gateway.hooks import Answer, Call
from gateway.protocol import strict_json
from gateway.protocol.mcp import message as mcp_message
from gateway.protocol.mcp import rpc, tasks
from gateway.protocol.mcp.rpc import ToolRequest
from gateway.protocol.mcp.rpc_scrub import Known, Search
from gateway.proxy.exchange import Exchange
from gateway.proxy.large_bodies import BodyMemory, Found, Given, LargeBodies
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.credentials.inject import Injected, Values
from gateway.services.tools.hooks import run_after, run_before

Tell = Callable[[AuditEvent], None]

_LISTS = "tools/list"
# An answer to any of these methods may hold the outcome of a call.
_TASKS = "tasks/"
# Searching a message for secrets, value by value, takes this many times as long as parsing it.
_SEARCHED = 16
_NO_ANSWER = (
    "The server answers no JSON-RPC message, so it is not shown. Tell the gateway's operator."
)
_NOT_LATER = (
    "Answers of this server are looked at as they are given, and one that is fetched later is not "
    "shown. Make the call again."
)


class McpExchange:
    """`tell` is given the audit record of reflected credentials. `tool`: the tool that is called;
    empty: none is. `call`: what hooks are shown of it; None: there is no hook, or no call."""

    def __init__(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        server: ToolServer,
        request: ToolRequest,
        tell: Tell,
        large: LargeBodies,
    ) -> None:
        self.server = server
        self.request = request
        self._large = large
        self.user = outgoing.head.user or ""
        self.request_id = exchange.request_id
        self._grants = outgoing.passage.grants
        self._exchange = exchange
        self._tell = tell
        self._hooks = server.tools.hooks
        self._hidden = frozenset(name for name, _ in server.inject.arguments)
        self._method = request.rpc.method if request.rpc is not None else ""
        self._greets = self._method == mcp_message.GREETING
        self._is_of_task = self._method.startswith(_TASKS)
        self._seen: set[bytes] = set()
        self._injected: Injected | None = None
        self._key_id = outgoing.passage.key_id
        # Masked for the audit: a caller may have put a key into the name.
        self.tool = masked(request.rpc.tool) if request.rpc is not None else ""
        self.call = self._call()

    @property
    def owner(self) -> Owner:
        """Key and user that a session opened by this message belongs to."""
        return Owner(self.server.place, self._key_id, self.user)

    @property
    def memory(self) -> BodyMemory:
        """The account of the memory that this request takes."""
        exchange = self._exchange
        if exchange.memory is None:
            exchange.memory = self._large.memory_of(self._key_id)
        return exchange.memory

    def run_large(
        self, size: int, work: Callable[[*Given], Found], *given: *Given
    ) -> Awaitable[Found]:
        """Do as `LargeBodies.run`, in the turn of the caller's key."""
        return self._large.run(self._key_id, size, work, *given)

    def _call(self) -> Call | None:
        hooks, rpc = self._hooks, self.request.rpc
        if rpc is None or not self.tool or not (hooks.before or hooks.after):
            return None
        exchange = self._exchange
        return Call(
            self.server.name,
            rpc.tool,
            rpc.params.get("arguments", {}),
            exchange.key_id,
            exchange.consumer,
            self.user,
            exchange.request_id,
        )

    async def prepare(self) -> None:
        """Run the `before` hooks; raise Denied if one refuses the call."""
        if self.call is not None and self._hooks.before:
            self.call = await run_before(self._hooks, self.call)

    def set_injected(self, injected: Injected) -> None:
        """Set the values to inject; raise Denied if one is too short to be kept out of answers."""
        for name, value in injected.call_secrets.own:
            if len(value) < SHORTEST_INJECTED:
                # A shared credential and the user's own may have the same name.
                meant = [use.name for use in injected.newest.uses if _short(use) == name]
                raise _too_short(" or ".join(meant) or name)
        self._injected = injected

    def message(self, values: Values) -> rpc.Message | None:
        """Return the message as it is sent, with values injected; None: there is none."""
        request = self.request.rpc
        if request is None:
            return None
        if not self.tool or not (values.arguments or self._hooks.before):
            return mcp_message.to_server(request)
        given = request.params.get("arguments", {}) if self.call is None else self.call.arguments
        # Some servers ignore the case of names.
        filled_in = {name.casefold() for name, _ in values.arguments}
        arguments = {name: given[name] for name in given if name.casefold() not in filled_in}
        arguments.update(values.arguments)
        return mcp_message.with_arguments(request.message, arguments)

    @property
    def inspects(self) -> bool:
        """Whether the answer has to be looked at."""
        return self.known is not None or self._filters or self._greets or bool(self._hooks.after)

    @property
    def may_be_task(self) -> bool:
        """Whether the answer may be a task, or about one."""
        request = self.request.rpc
        return request is not None and (self._is_of_task or tasks.may_be_told(request.params))

    def check_unread(self) -> None:
        """Raise Denied if a hook has to look at the answer, which cannot be looked at."""
        if self._hooks.after and (self.call is not None or self._is_of_task):
            raise Denied(Code.UPSTREAM_PROTOCOL, _NO_ANSWER)

    @property
    def known(self) -> Known | None:
        """The secrets that must not come back, as known by now; None: there are none."""
        return None if self._injected is None else self._injected.secrets.known

    def note_passed_on(self, *, response: bool) -> None:
        """Note that the response was passed on: a caller that leaves then cuts nothing."""
        self._exchange.responded = self._exchange.responded or response

    async def shown(self, message: Mapping[str, Any], size: int = 0) -> bytes:
        """Return what is shown of a message of the server, as JSON. `size`: its bytes as received.

        Raise Denied if a hook withholds the message or cannot look at it, RecursionError if it is
        nested too deeply.
        """
        shown: Mapping[str, Any] = message
        if self._greets:
            mcp_message.check_initialized(shown)
        if self._filters and isinstance(_result(shown).get("tools"), list):
            shown = {
                **shown,
                "result": mcp_message.shown_tools(shown["result"], self._may_call, self._hidden),
            }
        call = self.call if self.is_response(shown) and self._hooks.after else None
        if self._hooks.after:
            shown = self._without_unseen(shown)
        known = self.known
        if known is None:
            return strict_json.encode(shown if call is None else await self._hooked(call, shown))
        search = Search(known)
        if call is None:
            written = await self.run_large(_SEARCHED * size, search.written, shown)
        else:
            found = await self.run_large(_SEARCHED * size, search.message, shown)
            written = strict_json.encode(await self._hooked(call, found))
        self.note_reflected(search.seen)
        return written

    def is_response(self, message: Mapping[str, Any]) -> bool:
        """Whether a caller may take the message for its answer: not all of them compare ids."""
        return "result" in message or "error" in message

    async def _hooked(self, call: Call, response: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = Answer(response.get("result"), response.get("error"))
        looked_at = await run_after(self._hooks, call, answer)
        if looked_at is answer:
            return response
        rest = {name: response[name] for name in ("jsonrpc", "id") if name in response}
        if looked_at.error is not None:
            return {**rest, "error": looked_at.error}
        return {**rest, "result": looked_at.result}

    def note_withheld(self, denied: Denied) -> None:
        """Note a refusal for the logs: the answer goes on without what a hook withheld."""
        self._exchange.note_refusal(denied)

    def note_reflected(self, seen: Set[bytes]) -> None:
        """Record that a server sent back injected values, once for each credential."""
        new = seen - self._seen
        if not new or self._injected is None:
            return
        self._seen |= new
        names = {one.removeprefix(b"[redacted:").removesuffix(b"]").decode() for one in new}
        uses = self._injected.newest.uses
        used = tuple(use for use in uses if _short(use) in names)
        exchange = self._exchange
        self._tell(
            AuditEvent(
                "credential.reflected",
                request_id=exchange.request_id,
                key_id=exchange.key_id,
                consumer=exchange.consumer,
                agent=self.server.place,
                tool=self.tool,
                user=self.user,
                credentials=used,
            )
        )

    def _without_unseen(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the message without the outcome of a call that hooks were not shown: one of a
        resumed stream, or of a task."""
        if self.is_response(message):
            if self.request.rpc is None or self._is_of_task:
                raise Denied(Code.HOOK_REFUSED, _NOT_LATER)
        elif "method" not in message:
            self.check_unread()
        return tasks.without_outcome(message)

    @property
    def _filters(self) -> bool:
        """Whether lists of tools are cut to those that the caller may call."""
        lists = self.request.rpc is None or self._method == _LISTS
        return lists and (bool(self._hidden) or not self._may_call("*"))

    def _may_call(self, tool: str) -> bool:
        return self._grants.allow(Scope("tools", self.server.name, tool))


def _result(message: Mapping[str, Any]) -> Mapping[str, Any]:
    found = message.get("result")
    return found if isinstance(found, Mapping) else {}


def _short(use: Named) -> str:
    """Return the name in `[redacted:NAME]`, which does not tell the user."""
    return use.name.rpartition("/")[2]


def _too_short(credential: str) -> Denied:
    return Denied(
        Code.CREDENTIAL_UNAVAILABLE,
        f"The credential {credential} is shorter than {SHORTEST_INJECTED} characters: it could not "
        "be kept out of what tools answer. Use a longer one.",
        fields={"credential": credential},
    )
