"""What a source of credentials is, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from gateway.domain.credentials import Credential, CredentialId


class SourceError(Exception):
    """The credentials could not be fetched; `str()` is one sentence, without a value.

    `final`: another try does not help.
    """

    final = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What a source returns. `whole`: everything, instead of only what was written since.

    `removed`: ids with the revision of their removal. `age`: seconds since all this was true.
    """

    revision: int
    changed: tuple[Credential, ...] = ()
    removed: tuple[tuple[CredentialId, int], ...] = ()
    broken: Mapping[CredentialId, str] = field(default_factory=lambda: MappingProxyType({}))
    whole: bool = False
    age: float = 0.0


class Source(Protocol):
    """`waits`: a fetch may be held back up to `wait` seconds, until something changes."""

    waits: bool

    async def fetch(self, since: int, wait: float) -> Changes:
        """Return what was written after the revision `since`; SourceError if that fails."""
        ...

    async def until_news(self, since: int, seconds: float) -> None:
        """Wait so long; less, if the source tells of a write after the revision `since`."""
        ...
