"""Everything that the admin API answers."""

from gateway.admin import (
    audit,
    bulk,
    change_keys,
    keys,
    log_level,
    policies,
    reach,
    sight,
    tools,
    vault,
)
from gateway.admin.backend import Backend
from gateway.admin.routing import Route

ROUTES: tuple[Route[Backend], ...] = (
    *keys.ROUTES,
    *change_keys.ROUTES,
    *bulk.ROUTES,
    *vault.ROUTES,
    *reach.ROUTES,
    *tools.ROUTES,
    *policies.ROUTES,
    *audit.ROUTES,
    *sight.ROUTES,
    *log_level.ROUTES,
)
