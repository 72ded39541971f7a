"""The shape of a policy file. The JSON Schema for editors is made from these very models."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.domain.addresses import is_guarded
from gateway.domain.cors import ANY_ORIGIN
from gateway.domain.policies import DEFAULT_ACTION
from gateway.protocol.policy.values import (
    Burst,
    Duration,
    FilePath,
    HeaderName,
    HostName,
    MaxAge,
    Method,
    Name,
    NetworkText,
    Oddity,
    OriginText,
    ProxyUrl,
    Quotas,
    RateText,
    RoutePathText,
    Size,
    UpstreamUrl,
)

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Section(BaseModel):
    # Inputs stay out of messages: a policy file may hold what is for nobody's screen.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RouteSection(_Section):
    """One kind of request. The first route that matches by path and method wins."""

    path: RoutePathText = Field(description="'*' is one segment, '**' one or more.")
    methods: list[Method] = Field(default=[], description="Left out: any method.")
    action: Name = Field(default=DEFAULT_ACTION, description="The last part of the scope needed.")
    public: bool = Field(default=False, description="Needs no key; matched byte for byte.")


class TimeoutsSection(_Section):
    connect: Duration = Field(default=2.0, description="To connect. Default: 2s.")
    first_byte: Duration = Field(default=60.0, description="To the answer's head. Default: 60s.")
    idle: Duration = Field(default=300.0, description="Between two bytes. Default: 300s.")


class PathsSection(_Section):
    allow: list[Oddity] = Field(description="Disputed spellings that this agent wants to receive.")


class CorsSection(_Section):
    """Which pages of other sites may call this agent from a browser."""

    origins: list[OriginText] = Field(
        default=[], description="Such as https://app.example.com; '*' is any."
    )
    headers: list[HeaderName] = Field(
        default=[], description="What they may send beside the key, such as Content-Type."
    )
    credentials: bool = Field(default=False, description="Whether cookies may come along.")
    max_age: MaxAge = Field(default=600.0, description="Of an answer to a preflight. Default: 10m.")

    @model_validator(mode="after")
    def _credentials_are_for_named_origins(self) -> Self:
        if self.credentials and ANY_ORIGIN in self.origins:
            raise ValueError(
                "with 'credentials' every origin has to be named: with '*' any page could act "
                "with the cookies of whoever looks at it"
            )
        return self


class UpstreamSection(_Section):
    """One place where an agent lives, with what it takes to call it there."""

    url: UpstreamUrl = Field(description="A path in it is put before every path.")
    ca: FilePath | None = Field(default=None, description="PEM: whom to believe there.")
    cert: FilePath | None = Field(default=None, description="PEM: the gateway's certificate.")
    key: FilePath | None = Field(default=None, description="PEM: its private key.")
    proxy: ProxyUrl | None = Field(default=None, description="An HTTP proxy that tunnels there.")
    allow_link_local: bool = Field(
        default=False, description="May be at an address such as 169.254.169.254."
    )

    @model_validator(mode="after")
    def _files_belong_together(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("'cert' and 'key' belong together: give both or neither")
        if self.url.scheme == "http" and (self.ca or self.cert):
            raise ValueError("'ca', 'cert' and 'key' are for an upstream with https")
        return self

    @model_validator(mode="after")
    def _address_is_meant(self) -> Self:
        if is_guarded(self.url.host) and not self.allow_link_local:
            raise ValueError(
                f"{self.url.host} is where clouds keep their credentials: if it is meant, write "
                "{url: …, allow_link_local: true}"
            )
        return self


def _as_sections(value: Any) -> Any:
    """One or more upstreams, each a URL or a section, as sections."""
    items = value if isinstance(value, list) else [value]
    return [{"url": item} if isinstance(item, str) else item for item in items]


class _OneOrMore:
    """Tells the JSON Schema what `_as_sections` takes."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(core_schema)
        url = {"type": "string", "pattern": "^https?://", "examples": ["http://127.0.0.1:9101"]}
        one = [url, many["items"]]
        return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}, "minItems": 1}]}


Upstreams = Annotated[
    list[UpstreamSection], Field(min_length=1), BeforeValidator(_as_sections), _OneOrMore()
]


class AgentSection(_Section):
    """One agent. Its scope is `agents/<name>`, its URL `/agents/<name>/…`."""

    upstream: Upstreams = Field(
        description="Where it lives: a URL, a section with more, or a list of them.",
    )
    hosts: list[HostName] = Field(default=[], description="Host names that belong to it whole.")
    routes: list[RouteSection] | None = Field(
        default=None, description="Left out: every path, with the action 'invoke'."
    )
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    max_body: Size | None = Field(default=None, description="Left out: no limit.")
    preserve_host: bool = Field(default=False, description="Send on the caller's Host header.")
    paths: PathsSection | None = None
    cors: CorsSection | None = Field(
        default=None, description="Left out: a preflight is refused like any keyless request."
    )


class LimitsSection(_Section):
    rate: RateText | None = Field(default=None, description="Steady requests a s, m, h or d.")
    burst: Burst | None = Field(default=None, description="Most at once. Default: rate's number.")
    quota: Quotas = Field(default=(), description="Requests in a calendar window in UTC.")
    concurrency: Burst | None = Field(default=None, description="Requests under way at a time.")

    @model_validator(mode="after")
    def _burst_is_of_a_rate(self) -> Self:
        if self.burst is not None and self.rate is None:
            raise ValueError("'burst' means nothing without 'rate'")
        return self


class PlanSection(LimitsSection):
    """Named limits, for any number of keys; each key has counters of its own."""

    agents: dict[Name, LimitsSection] = Field(
        default={}, description="Further limits at single agents, counted besides."
    )


class PolicyFile(_Section):
    """One file of the policies directory; all files together are the policies."""

    model_config = ConfigDict(title="Policies of the agent credential gateway")

    version: Literal[1]
    agents: dict[Name, AgentSection] = {}
    plans: dict[Name, PlanSection] = {}
    trusted_proxies: list[NetworkText] = Field(
        default=[], description="Networks whose X-Forwarded-For is believed."
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, as in `policies/schema.json`."""
    made = PolicyFile.model_json_schema()
    return {"$schema": SCHEMA_DIALECT, **made}
