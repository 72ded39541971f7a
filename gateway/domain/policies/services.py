"""What is injected into outbound calls: which credentials, where, and how requests are signed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.domain.policies.references import Reference, Template

# The fields that a credential needs for signing requests.
SIGNING_FIELDS = ("access_key_id", "access_key_secret")

# Types that define by themselves how they are sent.
SENT_WHOLE = ("api_key", "bearer", "basic", "headers", "oauth2")

Templates = tuple[tuple[str, Template], ...]


class Scheme(StrEnum):
    """How a request is signed: AWS Signature Version 4, or Alibaba Cloud's ACS3."""

    AWS4 = "aws4"
    ACS3 = "acs3"


class Dialect(StrEnum):
    """The API that a model speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Sign:
    """`credential`: one of type ak_sk. `region` and `service`: part of what aws4 signs.

    `hashes_body` False: the body streams and is not covered by the signature.
    """

    scheme: Scheme
    credential: Reference
    region: str = ""
    service: str = ""
    hashes_body: bool = True


@dataclass(frozen=True, slots=True)
class Inject:
    """`body`: fields of a JSON object. Fields of the caller with the same names are replaced.

    `whole`: a credential that is sent as its type defines: a bearer token, Basic, its own headers.
    `arguments`: of a tool call. `env`: of a tool that is a program.
    """

    headers: Templates = ()
    query: Templates = ()
    body: Templates = ()
    sign: Sign | None = None
    whole: Reference | None = None
    arguments: Templates = ()
    env: Templates = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every credential that a call needs, each once."""
        signing = () if self.sign is None else (self.sign.credential,)
        return tuple(dict.fromkeys((*self._put_in(), *signing)))

    def beside_calls(self, *, runs: bool) -> "Inject":
        """Return what goes with messages that call no tool. `runs`: the tool is a program that runs
        all the time, not only for calls."""
        return replace(self, arguments=(), env=self.env if runs else ())

    @property
    def puts_in(self) -> bool:
        """Whether a credential's value goes into the call itself, instead of only signing it."""
        return any(self._put_in())

    @property
    def needs_body(self) -> bool:
        """Whether the request can be sent only after its whole body has arrived."""
        return bool(self.body) or (self.sign is not None and self.sign.hashes_body)

    def _put_in(self) -> Iterator[Reference]:
        for _, template in (
            *self.headers,
            *self.query,
            *self.body,
            *self.arguments,
            *self.env,
        ):
            yield from template.references
        if self.whole is not None:
            yield self.whole
