"""What is put into calls to a service on their way out: which credentials, where, signed how."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.domain.policies.references import Reference, Template

# What a credential has to have so that requests can be signed with it.
SIGNING_FIELDS = ("access_key_id", "access_key_secret")

# Types that say by themselves how they are sent.
SENT_WHOLE = ("api_key", "bearer", "basic", "headers", "oauth2")

Templates = tuple[tuple[str, Template], ...]


class Scheme(StrEnum):
    """How a request is signed: AWS Signature Version 4, or Alibaba Cloud's ACS3."""

    AWS4 = "aws4"
    ACS3 = "acs3"


class Dialect(StrEnum):
    """Whose requests a model understands."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Sign:
    """`credential`: one of type ak_sk. `region` and `service`: for aws4, part of what is signed.

    `hashes_body` False: the body streams, and is not part of what is signed.
    """

    scheme: Scheme
    credential: Reference
    region: str = ""
    service: str = ""
    hashes_body: bool = True


@dataclass(frozen=True, slots=True)
class Inject:
    """`body`: fields of a JSON object. What a caller sends under the same names is replaced.

    `whole`: a credential that is sent as its type says: a bearer token, Basic, its own headers.
    `arguments` of a tool that is called, and the `env` of one that is a program.
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
        """What goes with other messages than calls of tools. `runs`: a program does all the time,
        and not for calls alone."""
        return replace(self, arguments=(), env=self.env if runs else ())

    @property
    def puts_in(self) -> bool:
        """Whether a credential's value goes into the call itself, and does not only sign it."""
        return any(self._put_in())

    @property
    def needs_body(self) -> bool:
        """Whether nothing can be sent before the whole body is there."""
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
