"""What a request asks for: the callee, the rest of the path, the route, and the scope it needs."""

from dataclasses import field

from gateway.domain.errors import Code, Denied, not_allowed
from gateway.domain.facts import fact
from gateway.domain.keys.scopes import DEFAULT_ACTION, SOME, Scope
from gateway.domain.policies.references import Template
from gateway.domain.policies.routes import Allowed, Route, RoutePath, Tried, decide
from gateway.domain.policies.services import Dialect
from gateway.domain.policies.snapshot import Agent, Callee, Policies, Service, ToolServer
from gateway.protocol.http.request import RequestHead
from gateway.protocol.http.target import Target, lax_path, route_path
from gateway.protocol.mcp.message import METHODS, scope_of, server_name
from gateway.protocol.mcp.rpc import Rpc
from gateway.protocol.models.request import ModelPath
from gateway.protocol.pull import CREDENTIALS_PATH, Pulling

# A path is at most as long as a line may be, so this is some megabytes at worst.
MAX_KNOWN = 1024
AGENTS_PREFIX = b"/agents/"
SERVICES_PREFIX = b"/services/"
# The gateway's own one-time links: never an agent's, whatever the host.
CONNECT_PREFIX = b"/connect/"
READING = ("GET", "HEAD")
_OF_USERS = "Users' own credentials are never served here. Leave them out of 'names'."
_SEE_LIST = "'GET /models/v1/models' lists those that a key may call."
NO_SUCH_MODEL = f"The gateway has no such model for this key. {_SEE_LIST}"
_NO_CALL = (
    "No model is called at this path: calls go to /models/v1/chat/completions and its kin, or to "
    "/models/anthropic/v1/messages."
)
_OTHER_DIALECT = {
    Dialect.OPENAI: "This model is asked in OpenAI's dialect, under /models/v1/.",
    Dialect.ANTHROPIC: "This model is asked in Anthropic's dialect, under /models/anthropic/.",
}


# Identifies what a key may have access to: all requests to it have this in common.
Place = tuple[str | Scope | tuple[Scope, ...] | None, ...]


@fact
class Located:
    """`denied`: what is wrong with the place, revealed only to a caller with a living key.

    `path`: sent to the agent after its base path, before the query. `required`: a scope that is not
    an agent's action; `also`: further ones; `any_key`: no scope is needed. `scope` None: unknown.
    `tried`: the scope that the key would need if a route that is not enforced were.
    """

    callee: Callee | None
    path: bytes
    action: str = ""
    public: bool = False
    denied: Denied | None = None
    required: Scope | None = None
    also: tuple[Scope, ...] = ()
    tried: Scope | None = None
    any_key: bool = False

    place: Place = field(init=False)

    def __post_init__(self) -> None:
        name = self.callee.place if self.callee else ""
        place: Place = (name, self.action, self.required, self.also)
        if self.tried is not None:
            place = (*place, self.tried)
        if self.any_key:
            place = (*place, "any key")
        object.__setattr__(self, "place", place)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Every scope that the key needs."""
        return () if self.scope is None else (self.scope, *self.also)

    @property
    def scope(self) -> Scope | None:
        if self.required is not None:
            return self.required
        if self.callee is None or not self.action:
            return None
        return Scope(self.callee.kind, self.callee.name, self.action)


def locate(head: RequestHead, policies: Policies) -> Located:
    """Return where `head` goes under `policies`; Denied(bad_request) if its path is refused."""
    # Callers ask for few places, and often, so results are cached.
    asked = head.method, head.host if policies.by_host else "", head.target.path
    located: Located | None = policies.found.get(asked)
    if located is None:
        located = _locate(head, policies)
        if located.denied is None:
            if len(policies.found) >= MAX_KNOWN:
                policies.found.clear()
            policies.found[asked] = located
    return located


def locate_tools(
    server: ToolServer, method: str, rpc: Rpc | None, denied: Denied | None = None
) -> Located:
    """Return where a message to a tool server goes. `denied`: what is wrong with the message."""
    if method not in METHODS:
        denied = not_allowed(METHODS)
    return Located(server, b"", denied=denied, required=scope_of(server.name, rpc))


def locate_model(
    asked: ModelPath, name: str, policies: Policies, beside: tuple[str, ...] = ()
) -> Located:
    """Return where a call of the model `name` goes. `beside`: further models that the call may use,
    at the same provider."""
    model, denied = policies.models.get(name), None
    if model is None:
        denied = Denied(Code.NOT_FOUND, f"The gateway has no model {name!r}. {_SEE_LIST}")
    elif model.dialect is not asked.dialect:
        denied = Denied(Code.NOT_FOUND, _OTHER_DIALECT[model.dialect])
    elif strange := [one for one in beside if not _is_asked_for(one, policies)]:
        said = f"The body names the model {strange[0]!r} too, which the gateway asks nobody for."
        denied = Denied(Code.NOT_FOUND, f"{said} Leave it out.")
    scope = Scope("models", name, DEFAULT_ACTION)
    # Names that do not exist must not fill the cache of places.
    also = tuple(Scope("models", one, DEFAULT_ACTION) for one in beside if denied is None)
    return Located(model, asked.path, DEFAULT_ACTION, denied=denied, required=scope, also=also)


def _is_asked_for(name: str, policies: Policies) -> bool:
    """Whether the provider knows the model by this very name, and not under another one."""
    model = policies.models.get(name)
    return model is not None and ("model", Template((name,))) in model.inject.body


def locate_no_model(asked: ModelPath) -> Located:
    """Return the refusal of a request that calls no model, by its path or its method."""
    denied = Denied(Code.NOT_FOUND, _NO_CALL)
    if asked.is_call:
        denied = not_allowed(("POST",))
    return Located(None, asked.path, denied=denied)


def locate_pull(head: RequestHead, asked: Pulling) -> Located:
    """Return what a pull of credentials needs: one scope for each name."""
    denied = None
    if head.method not in READING:
        denied = not_allowed(READING)
    elif asked.of_users:
        denied = Denied(Code.SCOPE_DENIED, _OF_USERS)
    scopes = tuple(Scope("gateway", "credentials", name) for name in asked.names)
    required = scopes[0] if scopes else Scope("gateway", "credentials", "user")
    return Located(None, CREDENTIALS_PATH, denied=denied, required=required, also=scopes[1:])


def _locate(head: RequestHead, policies: Policies) -> Located:
    target = head.target
    callee, path = find_callee(head, policies)
    check_oddities(head, policies)
    if callee is None:
        denied = _odd(target) if target.oddities else Denied(Code.NOT_FOUND)
        return Located(None, path, denied=denied)
    if isinstance(callee, ToolServer):
        return locate_tools(callee, head.method, None)
    if target.oddities and target.oddities - callee.allowed_oddities:
        return Located(callee, path, denied=_odd(target))
    if isinstance(callee, Service) or callee.routes is None:
        return Located(callee, path, DEFAULT_ACTION)
    located = _routed(callee, path, route_path(path), head.method, callee.routes)
    if target.oddities and located.denied is None:
        lax = _routed(callee, path, lax_path(path), head.method, callee.routes)
        if lax.denied is None and (lax.place, lax.public) != (located.place, located.public):
            # The gateway cannot know which of the two readings the agent would follow.
            return Located(callee, path, denied=_odd(target))
    return located


def find_callee(
    head: RequestHead, policies: Policies
) -> tuple[Agent | Service | ToolServer | None, bytes]:
    """Return whose request this is, and the rest of its path."""
    path = head.target.path
    agent = policies.by_host.get(head.host)
    if agent is not None and not path.startswith(CONNECT_PREFIX):
        return agent, path
    if path.startswith(AGENTS_PREFIX):
        name, slash, rest = path[len(AGENTS_PREFIX) :].partition(b"/")
        return policies.agents.get(name.decode("ascii")), slash + rest or b"/"
    if (server := server_name(path)) is not None:
        return policies.tools.get(server.decode("ascii")), b""
    if path.startswith(SERVICES_PREFIX):
        name, slash, rest = path[len(SERVICES_PREFIX) :].partition(b"/")
        return policies.services.get(name.decode("ascii")), slash + rest or b"/"
    return None, path


def _routed(
    agent: Agent, path: bytes, asked: RoutePath, method: str, routes: tuple[Route, ...]
) -> Located:
    match decide(routes, asked, method):
        case Allowed(methods):
            return Located(agent, path, denied=not_allowed(methods))
        case None:
            return Located(agent, path, denied=Denied(Code.NOT_FOUND))
        case Tried(route, below):
            return _tried(agent, path, route, below)
        case route:
            return Located(agent, path, route.action, route.public)


def _tried(agent: Agent, path: bytes, route: Route, below: Route | None) -> Located:
    """Decide by the route below. If there is none, the key still needs some scope at this agent: a
    route that is not enforced opens nothing to strangers."""
    if below is not None and below.public:
        return Located(agent, path, below.action, public=True)
    tried = Scope(agent.kind, agent.name, route.action)
    if below is not None:
        return Located(agent, path, below.action, tried=tried)
    some = Scope(agent.kind, agent.name, SOME)
    return Located(agent, path, route.action, required=some, tried=tried)


def check_reading(head: RequestHead) -> None:
    """Raise Denied if the request would do more than read."""
    if head.method not in READING:
        raise not_allowed(READING)


def check_oddities(head: RequestHead, policies: Policies) -> None:
    """Refuse odd spellings at once unless some agent allows them: strangers must not learn which
    one does. The gateway's own places, and models, allow none."""
    path = head.target.path
    agents = head.host in policies.by_host and not path.startswith(CONNECT_PREFIX)
    agents = agents or path.startswith((AGENTS_PREFIX, SERVICES_PREFIX))
    if head.target.oddities - (policies.oddities if agents else frozenset()):
        raise _odd(head.target)


def _odd(target: Target) -> Denied:
    spelled = " ".join(sorted(target.oddities))
    return Denied(
        Code.BAD_REQUEST,
        f"The path holds {spelled}, which readers of URLs take differently. Leave it out, or ask "
        "the gateway's operator to allow it.",
    )
