"""The secrets that must not come back out of a call."""

import re
from collections.abc import Iterator
from functools import cached_property

from gateway.protocol.mcp.rpc_scrub import Known, known
from gateway.protocol.scrub import Patterns, patterns

# The name that replaces it, and the value.
Secret = tuple[str, str]

# Shorter parts of a value are common words.
SHORTEST_PART = 8
_BEHIND_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]* +(\S+)")


def parts(name: str, value: str) -> Iterator[str]:
    """Yield the parts of `value`, perhaps of a header `name`, that prove as much as all of it: what
    follows an authentication scheme, and the values of cookies."""
    found = []
    if behind := _BEHIND_A_SCHEME.fullmatch(value.strip()):
        found.append(behind[1])
    if name.lower() == "cookie":
        found += [one.partition("=")[2].strip(' \t"') for one in value.split(";")]
    return (part for part in found if len(part) >= SHORTEST_PART)


class Secrets:
    """A set of secrets. What searches for them is made at the first use and freed with the set, so
    that a value that was rotated away does not stay in memory."""

    def __init__(self, pairs: tuple[Secret, ...] = ()) -> None:
        self.pairs = pairs

    @cached_property
    def patterns(self) -> Patterns | None:
        """For searching texts; None if there is nothing to look for."""
        return patterns(self.pairs)

    @cached_property
    def known(self) -> Known | None:
        """For searching messages of tools; None if there is nothing to look for."""
        return None if self.patterns is None else known(self.patterns)

    def and_also(self, others: tuple[Secret, ...]) -> "Secrets":
        """Return a set with `others` too; itself if it has them already."""
        new = tuple(one for one in others if one not in self.pairs)
        return Secrets(self.pairs + new) if new else self
