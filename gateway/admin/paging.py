"""Pages of sorted lists."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def page_of(
    items: Sequence[Item], order: Callable[[Item], Any], after: Any, limit: int | None
) -> tuple[Sequence[Item], bool]:
    """Return at most `limit` of `items`, which are sorted by `order`, that come after `after`, and
    whether there are more. `after` need not be among them: it may be gone by now."""
    rest = items[bisect_right(items, after, key=order) :]
    return rest[:limit], limit is not None and len(rest) > limit
