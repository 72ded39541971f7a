"""One set of policies, checked and whole. A request sees exactly one from start to end."""

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
    """Files in PEM for calls to one upstream: whom to believe instead of the system's
    authorities, and who the gateway is. Empty: the system's authorities, no certificate."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an agent lives. `base_path` is prefixed to every path and has no trailing slash.

    `proxy`: (host, port) of an HTTP proxy that tunnels there. `allow_link_local`: an address
    such as 169.254.169.254, where clouds keep their metadata, may be called. `public`: nothing
    but a public address is.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str = ""
    tls: ClientTls = ClientTls()
    proxy: tuple[str, int] | None = None
    allow_link_local: bool = False
    public: bool = False

    # The value of the Host header sent there: part of every request, so written once.
    authority: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        authority = host if self.port == default else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority)

    def __hash__(self) -> int:
        # It is looked up several times a request, and hardly two differ in nothing but the rest.
        return hash((self.host, self.port))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base_path}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the answer's head, between any two bytes of a stream."""

    connect: float = 2.0
    first_byte: float = 60.0
    idle: float = 300.0


@dataclass(frozen=True, slots=True)
class _Callee:
    """`kind`: its section of the files. `upstreams`: one or more, of equal worth."""

    kind: ClassVar[str]

    name: str
    upstreams: tuple[Upstream, ...]
    # The rest is at its place in each: a diff names what differs in this order.

    # The name by which logs, metrics and records tell it from all others.
    place: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", f"{self.kind}/{self.name}")


@dataclass(frozen=True, slots=True)
class Agent(_Callee):
    """One agent behind the gateway.

    `routes` None: every path, with the action `invoke`. `max_body` in bytes, None: no limit.
    `allowed_oddities`: members of PATH_ODDITIES that this agent wants to receive. `cors` None:
    what pages of other sites may do is between them and the agent.
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
    """Called for others, with what `inject` puts into each call. The rest is as an agent's."""

    kind = "services"
    # No page of another site may call one.
    cors: ClassVar[Cors | None] = None
    timeouts: Timeouts
    max_body: int | None
    allowed_oddities: frozenset[str]
    inject: Inject


@dataclass(frozen=True, slots=True)
class Model(_Callee):
    """Understands requests in a `dialect`. `fallback`: names of those that stand in for it."""

    kind = "models"
    cors: ClassVar[Cors | None] = None
    timeouts: Timeouts
    max_body: int
    inject: Inject
    dialect: Dialect
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolServer(_Callee):
    """Answers calls of tools in MCP. `upstreams`: none where the tools are programs on this
    machine."""

    kind = "tools"
    timeouts: Timeouts
    max_body: int
    cors: Cors | None
    inject: Inject
    tools: Toolset


# Whom the gateway calls for its callers; outbound, with credentials that only it knows.
Callee = Agent | Service | Model | ToolServer
Outbound = Service | Model | ToolServer


@dataclass(frozen=True, slots=True)
class Mention:
    """A reference to a credential, and where it is written. `types`: where it means the whole
    credential, those that it may be of; empty: it means a value."""

    place: Place
    reference: Reference
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Policies:
    """Everything the files say. `revision` is a digest of their content, for logs.

    `origins`: where each thing is written, by names such as `agents/support`. `mentions`: the
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
    # Where requests were found to go, by method, host and path; it ends with these policies.
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
        """Agents, services, models and servers of tools."""
        sections = (self.agents, self.services, self.models, self.tools)
        return tuple(one for section in sections for one in section.values())

    def problem(self, callee: Callee, message: str) -> Problem:
        """With the place at which `callee` is written."""
        return Problem(self.origins[f"{callee.kind}/{callee.name}"], message)
