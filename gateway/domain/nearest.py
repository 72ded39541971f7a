"""Which name was meant by one that is not there."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that looks most like `name`; empty where none looks like it."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")
