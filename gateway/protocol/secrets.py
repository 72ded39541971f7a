"""What must not come back out of a call."""

import re
from collections.abc import Iterator
from functools import cached_property

from gateway.protocol.mcp.rpc_scrub import Known, known
from gateway.protocol.scrub import Patterns, patterns

# A name that stands for it where it may not be shown, and the value.
Secret = tuple[str, str]

# Shorter parts of a value are words that stand in many a text.
SHORTEST_PART = 8
_BEHIND_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]* +(\S+)")


def parts(name: str, value: str) -> Iterator[str]:
    """What of `value`, for a header `name` perhaps, proves as much as all of it: what stands behind
    an authentication scheme, the values of cookies."""
    found = []
    if behind := _BEHIND_A_SCHEME.fullmatch(value.strip()):
        found.append(behind[1])
    if name.lower() == "cookie":
        found += [one.partition("=")[2].strip(' \t"') for one in value.split(";")]
    return (part for part in found if len(part) >= SHORTEST_PART)


class Secrets:
    """What looks for them is made at its first use, and is forgotten with them: a value that was
    rotated away does not stay in memory for it."""

    def __init__(self, pairs: tuple[Secret, ...] = ()) -> None:
        self.pairs = pairs

    @cached_property
    def patterns(self) -> Patterns | None:
        """For texts; None where there is nothing to look for."""
        return patterns(self.pairs)

    @cached_property
    def known(self) -> Known | None:
        """For messages of tools; None where there is nothing to look for."""
        return None if self.patterns is None else known(self.patterns)

    def and_also(self, others: tuple[Secret, ...]) -> "Secrets":
        """Itself where these are among them."""
        new = tuple(one for one in others if one not in self.pairs)
        return Secrets(self.pairs + new) if new else self
