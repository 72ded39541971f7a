"""Which powers open what: each is for its own, and none that only reads changes anything."""

import pytest

from gateway.admin.routes import ROUTES
from gateway.admin.routing import Route

# They are asked by POST because of what they are asked about.
QUESTIONS = frozenset({"/policies/check", "/policies/diff", "/policies/explain"})
OWN = {"keys": "keys", "credentials": "credentials-write", "users": "credentials-write"}


def noun(route: Route) -> str:
    return route.path.split("/")[1]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_whoever_changes_something_has_the_power_over_it_or_over_all(route: Route) -> None:
    if route.method == "GET" or route.path in QUESTIONS:
        own = {"read", OWN.get(noun(route), "read")}
        assert set(route.powers) == ({"audit"} if noun(route) == "audit" else own)
    else:
        assert route.powers == ((OWN[noun(route)],) if noun(route) in OWN else ())
