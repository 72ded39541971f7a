"""`/admin/v1/keys`: what `gateway keys` does, for programs."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.routing import ApiError, Call, Route, Shape, Told
from gateway.crypto.draw import draw
from gateway.domain import expiry, scopes
from gateway.domain.errors import UsageError
from gateway.domain.key_fields import KeyFields
from gateway.domain.key_views import KeyView, view
from gateway.domain.records import ACTIVE, DISABLED
from gateway.domain.units import duration
from gateway.domain.usage import Counts
from gateway.services import lifecycle
from gateway.services.audited_keys import AuditedKeys
from gateway.services.find_keys import KeyFilter, one, page
from gateway.services.issue import Issued, Issuer
from gateway.services.lifecycle import KeyChange
from gateway.services.usage import reached
from gateway.store.keys import KeyStore

DAY = 86_400
log = structlog.get_logger()


class KeyPage(BaseModel):
    keys: tuple[KeyView, ...]
    next: str | None


class IssuedShape(BaseModel):
    """`key` is shown this once."""

    id: str
    key: str = Field(repr=False)
    consumer: str
    scopes: tuple[str, ...]
    plan: str | None
    expires_at: int | None


class ContainedShape(BaseModel):
    id: str
    outcome: str
    reached: dict[str, Counts]


class ListQuery(Shape):
    consumer: str | None = None
    state: str | None = None
    scope: str | None = None
    expiring_within: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    after: str = ""


class CreateBody(Shape):
    consumer: str
    scopes: list[str]
    plan: str | None = None
    limits: str | None = None
    users: list[str] | None = None
    label: str | None = None
    expires: str | None = None
    env: Literal["live", "test"] = "live"
    canary: bool = False


class UpdateBody(Shape):
    consumer: str | None = None
    scopes: list[str] | None = None
    plan: str | None = None
    limits: str | None = None
    users: list[str] | None = None
    label: str | None = None
    expires: str | None = None


class RotateBody(Shape):
    grace: str = "0"


class DaysQuery(Shape):
    days: Annotated[int, Field(ge=1, le=35)] = 7


def _keys(backend: Backend, call: Call) -> AuditedKeys:
    def unrecorded(key_id: str) -> None:
        log.error("revocation_not_audited", key_id=key_id, actor=call.caller.actor)

    return backend.keys(call.caller.actor, unrecorded)


async def list_keys(backend: Backend, call: Call) -> Told:
    asked: ListQuery = call.query
    scope = None
    if asked.scope is not None and (scope := scopes.parse(asked.scope)) is None:
        raise UsageError(f"{asked.scope!r} is not a scope.")
    within = None if asked.expiring_within is None else _seconds(asked.expiring_within)
    wanted = KeyFilter(asked.consumer, asked.state, scope, within)
    found = await page(_keys(backend, call), wanted, limit=asked.limit, after=asked.after)
    return Told(KeyPage(keys=found.keys, next=found.next))


async def create(backend: Backend, call: Call) -> Told:
    asked: CreateBody = call.body
    keys = _keys(backend, call)
    _check_powers(call, asked.scopes)
    _check_plan(backend, asked.plan)
    fields = await _fields(keys, asked)
    issuer = Issuer(keys, backend.peppers, draw)
    issued = await issuer.create(
        fields,
        asked.env,
        call.caller.actor,
        call.header(b"idempotency-key"),
        canary=asked.canary,
    )
    return _issued(issued, 201)


async def show(backend: Backend, call: Call) -> Told:
    keys = _keys(backend, call)
    key = view(await one(keys, call.parts["id"]), await keys.now())
    return Told(key, headers=(("ETag", _etag(key)),))


async def update(backend: Backend, call: Call) -> Told:
    keys = _keys(backend, call)
    asked: UpdateBody = call.body
    _check_plan(backend, asked.plan)
    await _check_powers_of(keys, call)
    _check_powers(call, asked.scopes or ())
    await _check_match(keys, call)
    changed = await lifecycle.update(keys, call.parts["id"], await _fields(keys, asked))
    key = view(changed, await keys.now())
    return Told(key, headers=(("ETag", _etag(key)),))


async def delete(backend: Backend, call: Call) -> Told:
    keys = _keys(backend, call)
    await _check_powers_of(keys, call)
    await _check_match(keys, call)
    return _changed(await lifecycle.delete(keys, call.parts["id"]))


async def revoke(backend: Backend, call: Call) -> Told:
    done = await lifecycle.revoke(_keys(backend, call), [call.parts["id"]])
    return _changed(done.changes[0])


async def disable(backend: Backend, call: Call) -> Told:
    return _changed(await lifecycle.set_status(_keys(backend, call), call.parts["id"], DISABLED))


async def enable(backend: Backend, call: Call) -> Told:
    keys = _keys(backend, call)
    await _check_powers_of(keys, call)
    return _changed(await lifecycle.set_status(keys, call.parts["id"], ACTIVE))


async def rotate(backend: Backend, call: Call) -> Told:
    asked: RotateBody = call.body
    keys = _keys(backend, call)
    await _check_powers_of(keys, call)
    issuer = Issuer(keys, backend.peppers, draw)
    grace = 0.0 if asked.grace == "0" else _seconds(asked.grace)
    marker = call.header(b"idempotency-key")
    return _issued(await issuer.rotate(call.parts["id"], grace, marker), 200)


async def reach(backend: Backend, call: Call) -> Told:
    await one(_keys(backend, call), call.parts["id"])
    return Told(
        ContainedShape(
            id=call.parts["id"], outcome="looked at", reached=await _reached(backend, call)
        )
    )


async def contain(backend: Backend, call: Call) -> Told:
    """Revoked first: what it reached is looked at once it can reach no more."""
    done = await lifecycle.revoke(_keys(backend, call), [call.parts["id"]])
    change = done.changes[0]
    if change.refused:
        return _changed(change)
    reached_so_far = await _reached(backend, call)
    return Told(ContainedShape(id=change.id, outcome=change.outcome, reached=reached_so_far))


async def _reached(backend: Backend, call: Call) -> dict[str, Counts]:
    asked: DaysQuery = call.query
    now = backend.clock()
    found = await reached(backend.usage, call.parts["id"], now - (asked.days - 1) * DAY, now)
    return {name or "none": counts for name, counts in sorted(found.items())}


async def _fields(keys: KeyStore, asked: CreateBody | UpdateBody) -> KeyFields:
    expires_at = None
    if asked.expires is not None:
        try:
            expires_at = expiry.parse(asked.expires, await keys.now()) or 0
        except ValueError as problem:
            raise ApiError(
                422,
                "invalid",
                f"expires: {problem}.",
                [{"field": "expires", "message": str(problem)}],
            ) from None
    return KeyFields(
        consumer=asked.consumer,
        scopes=None if asked.scopes is None else tuple(asked.scopes),
        plan=asked.plan,
        limits=asked.limits,
        users=None if asked.users is None else tuple(asked.users),
        label=asked.label,
        expires_at=expires_at,
    )


async def _check_powers_of(keys: KeyStore, call: Call) -> None:
    """Of the key that is acted on, as it is."""
    _check_powers(call, (await one(keys, call.parts["id"])).scopes.split())


def _check_powers(call: Call, items: Iterable[str]) -> None:
    """Whoever may make keys must not make, or take over, one with power over the gateway."""
    powers = [item for item in items if item.startswith("gateway")]
    if powers and not call.caller.may(()):
        told = f"Keys with {powers[0]} are made and changed with gateway/admin alone."
        raise ApiError(403, "scope_denied", told)


def _check_plan(backend: Backend, plan: str | None) -> None:
    if plan and plan not in backend.policies().plans:
        told = f"The policies have no plan {plan!r}."
        raise ApiError(422, "invalid", told, [{"field": "plan", "message": told}])


async def _check_match(keys: KeyStore, call: Call) -> None:
    wanted = call.header(b"if-match")
    if wanted and wanted != "*":
        now = await keys.now()
        if _etag(view(await one(keys, call.parts["id"]), now)) not in wanted:
            raise ApiError(412, "changed", "The key was changed meanwhile: look at it again.")


def _etag(key: KeyView) -> str:
    told = repr(sorted(asdict(key).items())).encode()
    return f'"{hashlib.sha256(told).hexdigest()[:24]}"'


def _issued(issued: Issued, status: int) -> Told:
    record = issued.record
    expires: Any = int(record.expires_at) if record.expires_at else None
    shape = IssuedShape(
        id=record.id,
        key=issued.key.text,
        consumer=record.consumer,
        scopes=tuple(record.scopes.split()),
        plan=record.plan or None,
        expires_at=expires,
    )
    return Told(shape, status)


def _changed(change: KeyChange) -> Told:
    if change.refused:
        missing = change.note.startswith("There is no")
        raise ApiError(404 if missing else 409, "not_found" if missing else "refused", change.note)
    return Told(change)


def _seconds(text: str) -> float:
    try:
        return duration(text)
    except ValueError as problem:
        raise UsageError(str(problem)) from None


READ, WRITE = ("read", "keys"), ("keys",)
ROUTES: tuple[Route[Backend], ...] = (
    Route("GET", "/keys", "List keys", READ, list_keys, KeyPage, query=ListQuery),
    Route(
        "POST",
        "/keys",
        "Make a key",
        WRITE,
        create,
        IssuedShape,
        CreateBody,
        status=201,
        headers=("Idempotency-Key",),
    ),
    Route("GET", "/keys/{id}", "Show a key", READ, show, KeyView),
    Route(
        "PATCH",
        "/keys/{id}",
        "Change what is given",
        WRITE,
        update,
        KeyView,
        UpdateBody,
        headers=("If-Match",),
    ),
    Route("DELETE", "/keys/{id}", "Remove a key", WRITE, delete, KeyChange, headers=("If-Match",)),
    Route("POST", "/keys/{id}/revoke", "Close a key for good", WRITE, revoke, KeyChange),
    Route("POST", "/keys/{id}/disable", "Suspend a key", WRITE, disable, KeyChange),
    Route("POST", "/keys/{id}/enable", "Undo disable", WRITE, enable, KeyChange),
    Route(
        "POST",
        "/keys/{id}/rotate",
        "Give a key a new secret",
        WRITE,
        rotate,
        IssuedShape,
        RotateBody,
        headers=("Idempotency-Key",),
    ),
    Route(
        "GET",
        "/keys/{id}/reach",
        "What a key asked for",
        READ,
        reach,
        ContainedShape,
        query=DaysQuery,
    ),
    Route(
        "POST",
        "/keys/{id}/contain",
        "Revoke a key and tell what it reached",
        WRITE,
        contain,
        ContainedShape,
        query=DaysQuery,
    ),
)
