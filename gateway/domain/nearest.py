"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the name in `known` that is most similar to `name`; empty if none is similar."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")
