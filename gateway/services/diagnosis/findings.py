"""Findings of `gateway doctor`: one sentence each, with a level."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

MOST_NAMED = 5


class Level(StrEnum):
    """`warn`: it works, but should be improved; `wrong`: it does not work, or does not protect as
    it should."""

    OK = "ok"
    WARN = "warn"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about `topic`, a word such as redis or keys. It says what to do, if anything."""

    topic: str
    level: Level
    sentence: str

    @property
    def wrong(self) -> bool:
        return self.level is Level.WRONG


def some(names: Collection[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(islice(names, MOST_NAMED))}{more}"
