"""All routes of the admin API."""

from gateway.admin import (
    audit,
    bulk,
    change_keys,
    keys,
    log_level,
    monitoring,
    policies,
    reach,
    tools,
    vault,
)
from gateway.admin.routing import ADMIN, ApiError, Route, find_route
from gateway.domain.errors import Code, Denied

ROUTES: tuple[Route, ...] = (
    *keys.ROUTES,
    *change_keys.ROUTES,
    *bulk.ROUTES,
    *vault.ROUTES,
    *reach.ROUTES,
    *tools.ROUTES,
    *policies.ROUTES,
    *audit.ROUTES,
    *monitoring.ROUTES,
    *log_level.ROUTES,
)


def powers_at(method: str, path: str) -> tuple[str, ...]:
    """Return the `gateway/…` scopes any of which is enough for this request; Denied if there is no
    such route or method."""
    try:
        route, _ = find_route(ROUTES, method, path)
    except ApiError as problem:
        missing = problem.status == 404
        code = Code.NOT_FOUND if missing else Code.METHOD_NOT_ALLOWED
        raise Denied(code, str(problem)) from None
    return (*route.powers, ADMIN)
