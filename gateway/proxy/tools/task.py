"""One message to a server of tools: what is sent of it, and what is shown of what comes back."""

from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from gateway.crypto.sessions import Owner
from gateway.domain.audit.record import AuditEvent
from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import masked
from gateway.domain.keys.scopes import Scope
from gateway.domain.policies.snapshot import ToolServer
from gateway.domain.policies.tools import SHORTEST_INJECTED
from gateway.hooks import Answer, Call
from gateway.protocol import strict_json
from gateway.protocol.mcp import message as mcp
from gateway.protocol.mcp import rpc, tasks
from gateway.protocol.mcp.rpc import Asked
from gateway.protocol.mcp.rpc_scrub import Known, Search
from gateway.proxy.exchange import Exchange
from gateway.proxy.large import Found, Given, Holding, Large
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.credentials.inject import Injected, Values
from gateway.services.tools.hooks import run_after, run_before

Tell = Callable[[AuditEvent], None]

_LISTS = "tools/list"
# Any of them may hold what the call of the task came to.
_TASKS = "tasks/"
# To search a message for secrets, value by value, takes so many times as long as to read it.
_SEARCHED = 16
_NO_ANSWER = "What is no JSON-RPC message cannot be looked at, and is not shown."
_NOT_LATER = (
    "Answers of this server are looked at as they are given, and one that is fetched later is not "
    "shown. Make the call again."
)


class ToolTask:
    """`tell` hears of what was reflected. `tool`: the one that is called; empty: none is. `call`:
    as own code is shown it; None: there is no own code, or nothing for it."""

    def __init__(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        server: ToolServer,
        asked: Asked,
        tell: Tell,
        large: Large,
    ) -> None:
        self.server = server
        self.asked = asked
        self._large = large
        self.user = outgoing.head.user or ""
        self.request_id = exchange.request_id
        self._grants = outgoing.passage.grants
        self._exchange = exchange
        self._tell = tell
        self._hooks = server.tools.hooks
        self._hidden = frozenset(name for name, _ in server.inject.arguments)
        self._method = asked.rpc.method if asked.rpc is not None else ""
        self._greets = self._method == mcp.GREETING
        self._is_of_task = self._method.startswith(_TASKS)
        self._seen: set[bytes] = set()
        self._injected: Injected | None = None
        self._key_id = outgoing.passage.key_id
        # As it goes on record: a caller may have put a key into the name.
        self.tool = masked(asked.rpc.tool) if asked.rpc is not None else ""
        self.call = self._call()

    @property
    def owner(self) -> Owner:
        """Whose a session is that this opens."""
        return Owner(self.server.place, self._key_id, self.user)

    @property
    def holding(self) -> Holding:
        """What is in memory for it."""
        exchange = self._exchange
        if exchange.holding is None:
            exchange.holding = self._large.holding(self._key_id)
        return exchange.holding

    def beside(
        self, size: int, work: Callable[[*Given], Found], *given: *Given
    ) -> Awaitable[Found]:
        """As `Large.do`, in the turn of the caller."""
        return self._large.do(self._key_id, size, work, *given)

    def _call(self) -> Call | None:
        hooks, rpc = self._hooks, self.asked.rpc
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
        """Have own code look at the call; Denied where it stands against it."""
        if self.call is not None and self._hooks.before:
            self.call = await run_before(self._hooks, self.call)

    def take(self, injected: Injected) -> None:
        """What is put into it; Denied where a value could not be kept out of the answer."""
        for name, value in injected.hidden.own:
            if len(value) < SHORTEST_INJECTED:
                raise _too_short(name)
        self._injected = injected

    def message(self, values: Values) -> rpc.Message | None:
        """The message as it is sent, with what is injected; None: there is none."""
        asked = self.asked.rpc
        if asked is None:
            return None
        if not self.tool or not (values.arguments or self._hooks.before):
            return mcp.to_server(asked)
        given = asked.params.get("arguments", {}) if self.call is None else self.call.arguments
        # Some servers ignore case.
        filled_in = {name.casefold() for name, _ in values.arguments}
        arguments = {name: given[name] for name in given if name.casefold() not in filled_in}
        arguments.update(values.arguments)
        return mcp.with_arguments(asked.message, arguments)

    @property
    def looks(self) -> bool:
        """Whether what comes back is looked at at all."""
        return self.known is not None or self._filters or self._greets or bool(self._hooks.after)

    @property
    def may_be_task(self) -> bool:
        """Whether the answer may be a task, or of one."""
        asked = self.asked.rpc
        return asked is not None and (self._is_of_task or tasks.may_be_told(asked.params))

    def check_unread(self) -> None:
        """Denied where own code is to look at the answer, and it is none that can be looked at."""
        if self._hooks.after and (self.call is not None or self._is_of_task):
            raise Denied(Code.UPSTREAM_PROTOCOL, _NO_ANSWER)

    @property
    def known(self) -> Known | None:
        """What must not come back, by now; None: there is nothing."""
        return None if self._injected is None else self._injected.secrets.known

    def passes_on(self, *, response: bool) -> None:
        """For the record: whoever leaves after the response has not left before the end."""
        self._exchange.responded = self._exchange.responded or response

    async def shown(self, message: Mapping[str, Any], size: int = 0) -> bytes:
        """What is shown of one message of the server's, as JSON. `size`: in bytes, as it came.

        Denied where own code withholds it, or has nothing to look at; RecursionError where it has
        too many levels.
        """
        shown: Mapping[str, Any] = message
        if self._greets:
            mcp.check_greeting(shown)
        if self._filters and isinstance(_result(shown).get("tools"), list):
            shown = {**shown, "result": mcp.shown_tools(shown["result"], self._sees, self._hidden)}
        call = self.call if self.is_response(shown) and self._hooks.after else None
        if self._hooks.after:
            shown = self._of_now(shown)
        known = self.known
        if known is None:
            return strict_json.encode(shown if call is None else await self._looked_at(call, shown))
        search = Search(known)
        if call is None:
            written = await self.beside(_SEARCHED * size, search.written, shown)
        else:
            found = await self.beside(_SEARCHED * size, search.message, shown)
            written = strict_json.encode(await self._looked_at(call, found))
        self.reflected(search.seen)
        return written

    def is_response(self, message: Mapping[str, Any]) -> bool:
        """Whether a caller may take it for the answer: not all of them compare ids."""
        return "result" in message or "error" in message

    async def _looked_at(self, call: Call, response: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = Answer(response.get("result"), response.get("error"))
        looked_at = await run_after(self._hooks, call, answer)
        if looked_at is answer:
            return response
        rest = {name: response[name] for name in ("jsonrpc", "id") if name in response}
        if looked_at.error is not None:
            return {**rest, "error": looked_at.error}
        return {**rest, "result": looked_at.result}

    def withheld(self, denied: Denied) -> None:
        """For the record: the answer goes on, without what own code withheld."""
        self._exchange.refused(denied)

    def reflected(self, seen: Set[bytes]) -> None:
        """Tell that a server sent back what it was sent, once for each credential."""
        new = seen - self._seen
        if not new or self._injected is None:
            return
        self._seen |= new
        names = {one.removeprefix(b"[redacted:").removesuffix(b"]").decode() for one in new}
        uses = self._injected.newest.uses
        used = tuple(use for use in uses if use.name.rpartition("/")[2] in names)
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

    def _of_now(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message without what comes of a call that is not known here: one of a stream that is
        taken up again, or of a task."""
        if self.is_response(message):
            if self.asked.rpc is None or self._is_of_task:
                raise Denied(Code.HOOK_REFUSED, _NOT_LATER)
        elif "method" not in message:
            self.check_unread()
        return tasks.without_outcome(message)

    @property
    def _filters(self) -> bool:
        """Whether lists of tools are cut to those that the caller may call."""
        lists = self.asked.rpc is None or self._method == _LISTS
        return lists and (bool(self._hidden) or not self._sees("*"))

    def _sees(self, tool: str) -> bool:
        return self._grants.allow(Scope("tools", self.server.name, tool))


def _result(message: Mapping[str, Any]) -> Mapping[str, Any]:
    found = message.get("result")
    return found if isinstance(found, Mapping) else {}


def _too_short(name: str) -> Denied:
    return Denied(
        Code.CREDENTIAL_UNAVAILABLE,
        f"The credential '{name}' is shorter than {SHORTEST_INJECTED} characters: it could not be "
        "kept out of what tools answer. Use a longer one.",
        fields={"credential": name},
    )
