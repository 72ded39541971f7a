"""The console's pages and forms by their paths below /console/."""

from collections.abc import Mapping

from gateway.admin.console.view import View
from gateway.admin.console.views import VIEWS
from gateway.admin.routing import ApiError, Caller

MENU = (
    ("", "Overview"),
    ("keys", "Keys"),
    ("policies", "Policies"),
    ("credentials", "Credentials"),
    ("users", "Users"),
    ("tools", "Tools"),
    ("audit", "Audit"),
)


def find(rest: str, *, written: bool) -> tuple[View, Mapping[str, str]]:
    for view in VIEWS:
        parts = view.match(rest)
        if parts is not None and view.writes is written:
            return view, parts
    raise ApiError(404, "not_found", "There is nothing at this address.")


def menu_of(caller: Caller) -> tuple[tuple[str, str], ...]:
    """Return the menu entries that this key may open."""
    return tuple(
        (path, name) for path, name in MENU if caller.may(find(path, written=False)[0].powers)
    )


def page_of_form(rest: str) -> str | None:
    """Return the path of the page that a form at `rest` belongs to, or None."""
    pages = [view for view in VIEWS if not view.writes]
    for place in (rest, rest.rpartition("/")[0]):
        if any(page.match(place) is not None for page in pages):
            return place
    return None


def takes_forms(rest: str) -> bool:
    own = rest in ("login", "logout", "language")
    return own or any(view.writes and view.match(rest) is not None for view in VIEWS)
