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

from gateway.domain.addresses import is_guarded, is_loopback
from gateway.domain.cors import ANY_ORIGIN
from gateway.domain.policies import DEFAULT_ACTION
from gateway.domain.services import Scheme
from gateway.protocol.policy.values import (
    Burst,
    Duration,
    FieldName,
    FilePath,
    HeaderName,
    HeaderText,
    HostName,
    InjectedHeader,
    MaxAge,
    Method,
    Name,
    NetworkText,
    Oddity,
    OriginText,
    PartOfScope,
    ProxyUrl,
    Quotas,
    RateText,
    RoutePathText,
    Size,
    TemplateText,
    UpstreamUrl,
    WholeCredential,
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
    public: bool = Field(
        default=False,
        description="Is called at public addresses only, whatever its name stands for at the time.",
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


class InjectSection(_Section):
    """What is put into every call, in place of what the caller sends under these names."""

    headers: dict[InjectedHeader, HeaderText] = Field(default={}, description="Header lines.")
    query: dict[FieldName, TemplateText] = Field(default={}, description="Query parameters.")
    body: dict[FieldName, TemplateText] = Field(
        default={}, description="Fields of the JSON object that is the body."
    )
    credential: WholeCredential | None = Field(
        default=None,
        description="Sent as its type says: Authorization: Bearer (api_key, bearer, oauth2) or "
        "Basic (basic), or its own headers (headers).",
    )

    @model_validator(mode="after")
    def _each_header_is_there_once(self) -> Self:
        names = [name.lower() for name in self.headers]
        if len(set(names)) != len(names):
            raise ValueError("two of these headers have the same name: case is ignored in names")
        return self


class SignSection(_Section):
    """How each call is signed with an access key (a credential of type ak_sk)."""

    scheme: Annotated[Scheme, Field(strict=False)] = Field(
        description="aws4: AWS Signature Version 4; acs3: Alibaba Cloud's version 3."
    )
    credential: WholeCredential = Field(description="The access key and its secret.")
    region: PartOfScope | None = Field(default=None, description="aws4: such as eu-central-1.")
    service: PartOfScope | None = Field(
        default=None, description="aws4: such as s3 or execute-api."
    )
    body: Literal["signed", "unsigned"] = Field(
        default="signed",
        description="'signed' holds a body of up to 8 MiB until it is whole; 'unsigned' (aws4, "
        "over https, where the service takes it, as S3 does) lets it stream.",
    )

    @model_validator(mode="after")
    def _each_scheme_has_what_it_needs(self) -> Self:
        if (self.scheme is Scheme.AWS4) != (self.region is not None) or (
            (self.region is None) != (self.service is None)
        ):
            raise ValueError("aws4 needs 'region' and 'service', and acs3 has neither")
        if self.scheme is Scheme.ACS3 and self.body == "unsigned":
            raise ValueError("acs3 signs every body")
        return self


class ServiceSection(_Section):
    """A service that agents call with the gateway's credentials. Its scope is `services/<name>`,
    its URL `/services/<name>/…`."""

    upstream: Upstreams = Field(
        description="Where it lives: a URL, a section with more, or a list of them.",
    )
    inject: InjectSection = Field(default_factory=InjectSection)
    sign: SignSection | None = None
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    max_body: Size | None = Field(default=None, description="Left out: no limit.")
    paths: PathsSection | None = None
    allow_http: bool = Field(
        default=False, description="Credentials may go there in clear, beyond this machine."
    )

    @model_validator(mode="after")
    def _credentials_go_over_tls(self) -> Self:
        for upstream in self.upstream:
            url = upstream.url
            if url.scheme == "http" and not is_loopback(url.host) and not self.allow_http:
                raise ValueError(
                    f"credentials would go to {url.host} in clear: use https, or write "
                    "'allow_http: true' if it is meant"
                )
            if url.scheme == "http" and self.sign is not None and self.sign.body == "unsigned":
                raise ValueError("an unsigned body needs https: nothing else protects it")
        return self


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
    services: dict[Name, ServiceSection] = {}
    plans: dict[Name, PlanSection] = {}
    trusted_proxies: list[NetworkText] = Field(
        default=[], description="Networks whose X-Forwarded-For is believed."
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, as in `policies/schema.json`."""
    made = PolicyFile.model_json_schema()
    return {"$schema": SCHEMA_DIALECT, **made}
