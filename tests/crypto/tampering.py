"""What a record is made of, to be changed piece by piece."""

from collections.abc import Iterator
from typing import Any


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a record, those of lists and mappings themselves included."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for name, value in items:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, name))
