"""One checked and complete set of policies. A request sees exactly one set from start to end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from gateway.domain.policies.cors import Cors
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.references import Reference
from gateway.domain.policies.routes import Route
from gateway.domain.policies.services import Dialect, Inject
from gateway.domain.policies.tools import Toolset

Network = IPv4Network | IPv6Network

# What an agent's `paths.allow` may name, spelled as in the policy file.
PATH_ODDITIES = ("//", ";", "\\", "%2F", "%5C", "%3B", "%3F", "%23")


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files for calls to one upstream: `ca` replaces the system's authorities, `cert` and `key`
    identify the gateway. Empty: the system's authorities, no certificate."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an agent lives. `base_path` is prefixed to every path and has no trailing slash; of a
    tool server it is the whole path, as it was written.

    `proxy`: (host, port) of an HTTP proxy that tunnels to it. `allow_link_local`: addresses such as
    169.254.169.254, where clouds serve their metadata, may be called. `public`: only public
    addresses may be called.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str = ""
    tls: ClientTls = ClientTls()
    proxy: tuple[str, int] | None = None
    allow_link_local: bool = False
    public: bool = False

    # The Host header sent there. It is part of every request, so it is built once.
    authority: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        authority = host if self.port == default else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority)

    def __hash__(self) -> int:
        # Looked up several times a request; hardly any two upstreams differ only in the other
        # fields.
        return hash((self.host, self.port))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base_path}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, until the head of the answer, and between any two bytes of a stream."""

    connect: float = 2.0
    first_byte: float = 60.0
    idle: float = 300.0


@dataclass(frozen=True, slots=True)
class _Callee:
    """`kind`: its section of the files. `upstreams`: one or more, used alike."""

    kind: ClassVar[str]

    name: str
    upstreams: tuple[Upstream, ...]
    # Subclasses declare their fields in the order in which a diff lists them.

    # Its unique name in logs, metrics and records.
    place: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", f"{self.kind}/{self.name}")


@dataclass(frozen=True, slots=True)
class Agent(_Callee):
    """One agent behind the gateway.

    `routes` None: every path, with the action `invoke`. `max_body` in bytes, None: no limit.
    `allowed_oddities`: members of PATH_ODDITIES that this agent accepts. `cors` None: a
    preflight needs a key like any request, and the agent's own CORS headers pass.
    """

    kind = "agents"
    hosts: tuple[str, ...] = ()
    routes: tuple[Route, ...] | None = None
    timeouts: Timeouts = Timeouts()
    max_body: int | None = None
    preserve_host: bool = False
    allowed_oddities: frozenset[str] = frozenset()
    cors: Cors | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", self.name)


@dataclass(frozen=True, slots=True)
class Service(_Callee):
    """Called with the credentials in `inject`. The other fields are as an agent's."""

    kind = "services"
    # No page of another origin may call one.
    cors: ClassVar[Cors | None] = None
    timeouts: Timeouts
    max_body: int | None
    allowed_oddities: frozenset[str]
    inject: Inject


@dataclass(frozen=True, slots=True)
class Model(_Callee):
    """A model that speaks `dialect`. `fallback`: names of the models that stand in for it."""

    kind = "models"
    cors: ClassVar[Cors | None] = None
    timeouts: Timeouts
    max_body: int
    inject: Inject
    dialect: Dialect
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolServer(_Callee):
    """Serves tools over MCP. `upstreams`: none if its tools are programs on this machine."""

    kind = "tools"
    timeouts: Timeouts
    max_body: int
    cors: Cors | None
    inject: Inject
    tools: Toolset


# Everything that the gateway calls; outbound: with credentials that only it knows.
Callee = Agent | Service | Model | ToolServer
Outbound = Service | Model | ToolServer


@dataclass(frozen=True, slots=True)
class Mention:
    """A reference to a credential, and where it is written. `types`: if it means the whole
    credential, the types that this may have; empty: it means one value."""

    place: Place
    reference: Reference
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Policies:
    """Everything that the files say. `revision`: a digest of their content, for logs.

    `origins`: where each thing is defined, by names such as `agents/support`. `mentions`: the
    credentials that they need.
    """

    revision: str = ""
    agents: Mapping[str, Agent] = field(default_factory=lambda: MappingProxyType({}))
    plans: Mapping[str, Plan] = field(default_factory=lambda: MappingProxyType({}))
    trusted_proxies: tuple[Network, ...] = ()
    origins: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}))
    mentions: tuple[Mention, ...] = ()
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    tools: Mapping[str, ToolServer] = field(default_factory=lambda: MappingProxyType({}))

    by_host: Mapping[str, Agent] = field(init=False)
    oddities: frozenset[str] = field(init=False)
    # Cache of where requests go, by method, host and path; it lives as long as these policies.
    found: dict[tuple[str, str, bytes], Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_host = {host: agent for agent in self.agents.values() for host in agent.hosts}
        everyone: tuple[Agent | Service, ...] = (*self.agents.values(), *self.services.values())
        oddities = frozenset[str]().union(*(one.allowed_oddities for one in everyone))
        object.__setattr__(self, "by_host", MappingProxyType(by_host))
        object.__setattr__(self, "oddities", oddities)
        object.__setattr__(self, "found", {})

    @property
    def everyone(self) -> tuple[Callee, ...]:
        """All agents, services, models and tool servers."""
        sections = (self.agents, self.services, self.models, self.tools)
        return tuple(one for section in sections for one in section.values())

    def problem(self, callee: Callee, message: str) -> Problem:
        return Problem(self.origins[f"{callee.kind}/{callee.name}"], message)
