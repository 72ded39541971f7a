"""The shape of a policy file. The JSON Schema for editors is made from these very models."""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.domain.keys.scopes import DEFAULT_ACTION
from gateway.domain.policies.cors import ANY_ORIGIN
from gateway.protocol.policy.outbound_sections import ModelSection, ServiceSection
from gateway.protocol.policy.sections import PathsSection, Section, TimeoutsSection, Upstreams
from gateway.protocol.policy.tool_sections import ToolSection
from gateway.protocol.policy.urls import HostName, NetworkText, OriginText
from gateway.protocol.policy.values import (
    Count,
    HeaderName,
    MaxAge,
    Method,
    Name,
    Quotas,
    RateText,
    RoutePathText,
    Size,
    TokenQuotas,
    Version,
)

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class RouteSection(Section):
    """One kind of request. The first route that matches by path and method wins."""

    path: RoutePathText = Field(description="'*' is one segment, '**' one or more.")
    methods: list[Method] = Field(default=[], min_length=1, description="Left out: any method.")
    action: Name = Field(default=DEFAULT_ACTION, description="The last part of the scope needed.")
    public: bool = Field(default=False, description="Needs no key; matched byte for byte.")
    enforce: bool = Field(
        default=True,
        description="false: what its action would refuse is reported; the lines below decide.",
    )

    @model_validator(mode="after")
    def _a_public_one_can_be_asked_for(self) -> Self:
        # A public route is compared byte for byte, and a request's path is ASCII.
        if self.public and (" " in self.path or not self.path.isascii()):
            raise ValueError(
                "no request spells this, and a public route takes no spelling but its own: name it "
                "in ASCII, without blanks"
            )
        return self

    @model_validator(mode="after")
    def _what_is_tried_out_refuses(self) -> Self:
        if self.public and not self.enforce:
            raise ValueError(
                "a public route refuses nobody, so there is nothing to try out: leave out "
                "'enforce: false' or 'public'"
            )
        return self


class CorsSection(Section):
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


class AgentSection(Section):
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


class LimitsSection(Section):
    rate: RateText | None = Field(default=None, description="Steady requests a s, m, h or d.")
    burst: Count | None = Field(default=None, description="Most at once. Default: rate's number.")
    quota: Quotas = Field(
        default=(), description="Requests a calendar s, m, h, d or month in UTC, such as 10000/d."
    )
    concurrency: Count | None = Field(default=None, description="Requests under way at a time.")

    @model_validator(mode="after")
    def _burst_is_of_a_rate(self) -> Self:
        if self.burst is not None and self.rate is None:
            raise ValueError("'burst' means nothing without 'rate'")
        return self


class PlanSection(LimitsSection):
    """Named limits, for any number of keys; each key has counters of its own."""

    tokens: TokenQuotas = Field(
        default=(), description="Tokens of models, such as 100000/d, as 'quota'."
    )
    agents: dict[Name, LimitsSection] = Field(
        default={}, description="Further limits at single agents, counted besides."
    )
    enforce: bool = Field(
        default=True, description="false: what these limits would refuse is reported and let in."
    )


class PolicyFile(Section):
    """One file of the policies directory; all files together are the policies."""

    model_config = ConfigDict(title="Policies of the agent credential gateway")

    version: Version
    agents: dict[Name, AgentSection] = Field(default={})
    services: dict[Name, ServiceSection] = Field(default={})
    models: list[ModelSection] = Field(default=[])
    tools: dict[Name, ToolSection] = Field(default={})
    plans: dict[Name, PlanSection] = Field(default={})
    trusted_proxies: list[NetworkText] = Field(
        default=[], description="Networks whose X-Forwarded-For is believed."
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy file, as in `policies/schema.json`."""
    made = PolicyFile.model_json_schema()
    return {"$schema": SCHEMA_DIALECT, **made}
