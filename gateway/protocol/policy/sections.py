"""The base of all sections of a policy file, and the sections that several kinds share."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Self

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

from gateway.domain.policies.addresses import is_guarded, is_loopback
from gateway.domain.policies.snapshot import ClientTls, Timeouts, Upstream
from gateway.protocol.policy.urls import URL_PATTERN, ProxyUrl, UpstreamUrl
from gateway.protocol.policy.values import Duration, FilePath, Oddity


class Section(BaseModel):
    # Inputs stay out of messages: a policy file may hold secrets by mistake.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class TimeoutsSection(Section):
    connect: Duration = Field(default=2.0, description="To connect. Default: 2s.")
    first_byte: Duration = Field(default=60.0, description="To the answer's head. Default: 60s.")
    idle: Duration = Field(default=300.0, description="Between two bytes. Default: 300s.")

    def read(self) -> Timeouts:
        return Timeouts(self.connect, self.first_byte, self.idle)


class PathsSection(Section):
    allow: list[Oddity] = Field(description="Disputed spellings that this agent wants to receive.")


class UpstreamSection(Section):
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
        if self.public and self.proxy is not None:
            raise ValueError(
                "a proxy looks the name up itself, so that nobody knows what address is called: "
                "leave out 'proxy' or 'public'"
            )
        return self

    def read(self, folder: PurePath, *, is_whole: bool = False) -> Upstream:
        """Return the upstream. `folder`: that of the policy file, which paths are relative to.
        `is_whole`: its path is called as it is written, and no other is put behind it."""
        ca, cert, key = (
            str(folder / path) if path else "" for path in (self.ca, self.cert, self.key)
        )
        return _interned(
            replace(
                self.url,
                base_path=self.url.base_path if is_whole else self.url.base_path.rstrip("/"),
                tls=ClientTls(ca, cert, key),
                proxy=self.proxy,
                allow_link_local=self.allow_link_local,
                public=self.public,
            )
        )


@lru_cache(maxsize=4096)
def _interned(upstream: Upstream) -> Upstream:
    # Each request looks its upstream up. Two that are only equal, of two agents or of the files
    # before a reload, would be compared field by field: 3 % of what a request costs.
    return upstream


def _as_sections(value: Any) -> Any:
    """Turn one or more upstreams, each a URL or a section, into sections."""
    items = value if isinstance(value, list) else [value]
    return [{"url": item} if isinstance(item, str) else item for item in items]


class _OneOrMore:
    """Describes in the JSON Schema what `_as_sections` accepts."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(core_schema)
        url = {"type": "string", "pattern": URL_PATTERN, "examples": ["http://127.0.0.1:9101"]}
        one = [url, many["items"]]
        return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}, "minItems": 1}]}


Upstreams = Annotated[
    list[UpstreamSection], Field(min_length=1), BeforeValidator(_as_sections), _OneOrMore()
]


def check_headers(headers: Iterable[str]) -> None:
    """Raise ValueError if two of these names are one header."""
    names = [name.lower() for name in headers]
    if len(set(names)) != len(names):
        raise ValueError("two of these headers have the same name: case is ignored in names")


def check_clear(upstreams: Iterable[UpstreamSection]) -> None:
    """Raise ValueError if a credential would be sent unencrypted beyond this machine."""
    for upstream in upstreams:
        # A CONNECT tunnel is not encrypted, and to the proxy, loopback is its own machine.
        stays = is_loopback(upstream.url.host) and upstream.proxy is None
        if upstream.url.scheme == "http" and not stays:
            raise ValueError(
                f"credentials would go to {upstream.url.host} in clear: use https, or write "
                "'allow_http: true' if it is meant"
            )
