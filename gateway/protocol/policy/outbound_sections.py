"""The sections of policy files for services and models, whose calls get credentials injected."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.domain.policies.providers import provider_of
from gateway.domain.policies.references import NO_VARIABLE, is_variable
from gateway.domain.policies.services import Scheme
from gateway.protocol.policy.sections import (
    PathsSection,
    Section,
    TimeoutsSection,
    Upstreams,
    check_clear,
    check_headers,
)
from gateway.protocol.policy.values import (
    FieldName,
    HeaderText,
    InjectedHeader,
    LiteralText,
    ModelName,
    Name,
    PartOfScope,
    Size,
    TemplateText,
    WholeCredential,
)

_SCHEME = re.compile("bearer ", re.IGNORECASE)


class InjectSection(Section):
    """What is put into every call, in place of what the caller sends under these names."""

    headers: dict[InjectedHeader, HeaderText] = Field(default={}, description="Header lines.")
    query: dict[FieldName, TemplateText] = Field(default={}, description="Query parameters.")
    body: dict[FieldName, TemplateText] = Field(
        default={},
        description="Fields of the body: a JSON object, or a form (multipart or URL-encoded).",
    )
    credential: WholeCredential | None = Field(
        default=None,
        description="Sent as its type says: Authorization: Bearer (api_key, bearer, oauth2) or "
        "Basic (basic), or its own headers (headers), in place of lines above with these names.",
    )

    @model_validator(mode="after")
    def _each_header_is_there_once(self) -> Self:
        check_headers(self.headers)
        return self


class SignSection(Section):
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


class ServiceSection(Section):
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
        if not self.allow_http:
            check_clear(self.upstream)
        unsigned = self.sign is not None and self.sign.body == "unsigned"
        if unsigned and any(upstream.url.scheme == "http" for upstream in self.upstream):
            raise ValueError("an unsigned body needs https: nothing else protects it")
        return self


class ModelSection(Section):
    """A model that agents call with the gateway's credentials. Its scope is `models/<name>`, its
    URL `/models/v1/…` or, in Anthropic's dialect, `/models/anthropic/v1/messages`."""

    name: ModelName = Field(description="What callers write as `model`.")
    provider: Literal["openai", "anthropic", "qwen", "compatible"] | None = Field(
        default=None, description="Left out: by the name (gpt-*, o1, claude-*, qwen*)."
    )
    upstream: Upstreams | None = Field(default=None, description="Left out: the provider's own.")
    credential: HeaderText | None = Field(
        default=None, description="Sent as a bearer token, to Anthropic as x-api-key."
    )
    upstream_model: LiteralText | None = Field(
        default=None, description="What the provider calls it."
    )
    fallback: list[Name] = Field(
        default=[],
        description="Models to ask, in this order, where this one cannot answer, or its credential "
        "cannot be had. The caller's key needs no scope for them.",
    )
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    max_body: Size | None = Field(default=None, description="Left out, and at most: 32 MiB.")
    allow_http: bool = Field(
        default=False, description="Credentials may go there in clear, beyond this machine."
    )

    @model_validator(mode="after")
    def _it_is_known_where_it_lives(self) -> Self:
        provider = self.provider or provider_of(self.name)
        if provider is None:
            raise ValueError(
                f"the name {self.name!r} does not tell whose model this is: add 'provider'"
            )
        if provider == "compatible" and self.upstream is None:
            raise ValueError("a compatible provider needs an 'upstream'")
        if provider != "compatible" and self.credential is None:
            raise ValueError("'credential' is missing: what is sent to the provider")
        if self.credential is not None and not self.credential.references:
            if is_variable(str(self.credential)):
                raise ValueError(NO_VARIABLE)
            raise ValueError(
                "'credential' is a value as it stands, which everybody reads who reads this file: "
                "keep it in the vault, and write ${credentials.NAME}"
            )
        if self.credential is not None and _SCHEME.match(str(self.credential)):
            raise ValueError(
                "the gateway writes 'Bearer' itself where the provider wants it: write "
                "${credentials.NAME} alone"
            )
        if self.credential is not None and not self.allow_http:
            check_clear(self.upstream or ())
        return self
