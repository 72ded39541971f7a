"""`/admin/v1/keys`: reading keys, as `gateway keys list` and `show` do."""

from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.fields import OneScope, Span
from gateway.admin.routing import Answer, Call, Input, Routes
from gateway.domain.keys import scopes
from gateway.domain.keys.views import KeyView, State, view
from gateway.domain.units import span
from gateway.log import log
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.find import KeyFilter, no_key, page

READ = ("read", "keys")
ROUTES = Routes()


class KeyPage(BaseModel):
    keys: tuple[KeyView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ShownKey(KeyView):
    """A key with the times at which its secrets were last used, and at which Redis removes the
    record by itself (EXPIRE)."""

    last_used_at: int | None
    previous_last_used_at: int | None
    removed_at: int | None


class ListQuery(Input):
    consumer: str | None = None
    state: State | None = None
    scope: OneScope | None = None
    expiring_within: Span | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    after: str = ""


@ROUTES.add("GET", "/keys", READ, KeyPage, query=ListQuery)
async def list_keys(backend: Backend, call: Call) -> Answer:
    """List keys."""
    query: ListQuery = call.query
    scope = None if query.scope is None else scopes.parse(query.scope)
    within = None if query.expiring_within is None else span(query.expiring_within)
    wanted = KeyFilter(query.consumer, query.state, scope, within)
    found = await page(keys_of(backend, call), wanted, limit=query.limit, after=query.after)
    return Answer(KeyPage(keys=found.keys, next=found.next))


@ROUTES.add("GET", "/keys/{id}", READ, ShownKey)
async def show(backend: Backend, call: Call) -> Answer:
    """Show a key."""
    keys = keys_of(backend, call)
    record, revision = await keys.revised(call.parts["id"])
    if record is None:
        raise no_key(call.parts["id"])
    used = await keys.last_used(record.id)
    shown = ShownKey(
        **asdict(view(record, await keys.now())),
        last_used_at=used.current,
        previous_last_used_at=used.previous,
        removed_at=await keys.removed_at(record.id),
    )
    return Answer(shown, headers=(("ETag", f'"{revision}"'),))


def keys_of(backend: Backend, call: Call) -> AuditedKeys:
    def unrecorded(key_id: str) -> None:
        log.error("revocation_not_audited", key_id=key_id, actor=call.caller.actor)

    return backend.keys(call.caller.actor, unrecorded)
