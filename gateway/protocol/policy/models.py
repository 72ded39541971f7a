"""The shape of a policy file. The JSON Schema for editors is made from these very models."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.domain.policies import DEFAULT_ACTION
from gateway.protocol.policy.values import (
    Burst,
    Duration,
    HostName,
    Method,
    Name,
    NetworkText,
    Oddity,
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


class AgentSection(_Section):
    """One agent. Its scope is `agents/<name>`, its URL `/agents/<name>/…`."""

    upstream: UpstreamUrl = Field(description="Where it lives; a path is put before every path.")
    hosts: list[HostName] = Field(default=[], description="Host names that belong to it whole.")
    routes: list[RouteSection] | None = Field(
        default=None, description="Left out: every path, with the action 'invoke'."
    )
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    max_body: Size | None = Field(default=None, description="Left out: no limit.")
    preserve_host: bool = Field(default=False, description="Send on the caller's Host header.")
    paths: PathsSection | None = None


class LimitsSection(_Section):
    rate: RateText | None = Field(default=None, description="Steady requests a s, m, h or d.")
    burst: Burst | None = Field(default=None, description="Most at once. Default: rate's number.")
    quota: Quotas = Field(default=(), description="Requests in a calendar window in UTC.")

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
