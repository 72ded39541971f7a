"""Where the console's pages and forms are, below /console/."""

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
        match = view.pattern.fullmatch(rest)
        if match is not None and view.writes is written:
            return view, match.groupdict()
    raise ApiError(404, "not_found", "There is nothing at this address.")


def menu_of(caller: Caller) -> tuple[tuple[str, str], ...]:
    """The pages that this key may look at."""
    return tuple(
        (path, name) for path, name in MENU if caller.may(find(path, written=False)[0].powers)
    )


def page_of(rest: str) -> str | None:
    """Where what a form was sent to can be looked at; None: nowhere."""
    pages = [view.pattern for view in VIEWS if not view.writes]
    places = (rest, rest.rpartition("/")[0])
    return next((one for one in places if any(page.fullmatch(one) for page in pages)), None)


def takes_forms(rest: str) -> bool:
    own = rest in ("login", "logout", "language")
    return own or any(view.writes and view.pattern.fullmatch(rest) for view in VIEWS)
