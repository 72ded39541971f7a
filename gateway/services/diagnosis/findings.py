"""What was found: a sentence each, and how bad it is."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

NAMED = 5


class Level(StrEnum):
    """`warn`: it works, and is worth doing something about; `wrong`: it does not work or protect as
    it should."""

    OK = "ok"
    WARN = "warn"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about `topic`, a word such as redis or keys; it says what to do, if anything."""

    topic: str
    level: Level
    sentence: str

    @property
    def wrong(self) -> bool:
        return self.level is Level.WRONG


def some(names: Collection[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(islice(names, NAMED))}{more}"
