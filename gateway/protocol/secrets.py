"""What must not come back out of a call."""

from functools import cached_property

from gateway.protocol.mcp.rpc_scrub import Known, known
from gateway.protocol.scrub import Patterns, patterns

# A name that stands for it where it may not be shown, and the value.
Secret = tuple[str, str]


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
