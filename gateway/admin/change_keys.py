"""`/admin/v1/keys`: changing keys, as `gateway keys create`, `rotate`, `revoke` etc. do."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.admin.backend import Backend
from gateway.admin.fields import (
    Consumer,
    Expiry,
    Label,
    Limits,
    Plan,
    Scopes,
    Span,
    Users,
    check_field,
    context_of,
)
from gateway.admin.keys import keys_of
from gateway.admin.routing import (
    ADMIN,
    Answer,
    ApiError,
    Call,
    Input,
    Routes,
    scope_denied,
)
from gateway.admin.times import expiry_second
from gateway.crypto.draw import draw
from gateway.domain.errors import StoreError
from gateway.domain.keys.fields import KeyFields, check_limits
from gateway.domain.keys.record import ACTIVE, DISABLED
from gateway.domain.keys.views import KeyView, view
from gateway.domain.policies.plans import default_plan
from gateway.domain.units import span
from gateway.services.keys import lifecycle
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.find import find_key
from gateway.services.keys.issue import Issuer
from gateway.services.keys.lifecycle import KeyChange

WRITE = ("keys",)
ROUTES = Routes()
# Weak ETags never match in If-Match (RFC 9110 section 13.1.1).
_TAG = re.compile(r'(?<!W/)"([0-9a-f]{40})"')


class IssuedShape(BaseModel):
    """`key` is shown only here."""

    id: str
    key: str = Field(repr=False)
    consumer: str
    scopes: tuple[str, ...]
    plan: str | None
    expires_at: int | None


class CreateBody(Input):
    consumer: Consumer
    scopes: Scopes
    plan: Plan | None = None
    limits: Limits | None = None
    users: Users | None = None
    label: Label | None = None
    expires: Expiry | None = None
    env: Literal["live", "test"] = "live"
    canary: bool = False

    @field_validator("limits")
    @classmethod
    def _are_of_its_plan(cls, limits: str | None, info: ValidationInfo) -> str | None:
        if limits and "plan" in info.data:
            plans = context_of(info).plans
            plan = _plan_or_default(info.data["plan"], plans)
            check_field(lambda: check_limits(plan, limits, plans))
        return limits


class UpdateBody(Input):
    consumer: Consumer | None = None
    scopes: Scopes | None = None
    plan: Plan | None = None
    limits: Limits | None = None
    users: Users | None = None
    label: Label | None = None
    expires: Expiry | None = None


class RotateBody(Input):
    grace: Span = "0"


@ROUTES.add(
    "POST", "/keys", WRITE, IssuedShape, CreateBody, status=201, headers=("Idempotency-Key",)
)
async def create(backend: Backend, call: Call) -> Answer:
    """Create a key."""
    body: CreateBody = call.body
    keys = keys_of(backend, call)
    _check_powers(call, body.scopes)
    fields = await _fields(keys, body)
    plan = _plan_or_default(body.plan, backend.policies().plans)
    issuer = Issuer(keys, backend.peppers, draw)
    issued = await issuer.create(
        replace(fields, plan=plan),
        body.env,
        call.caller.actor,
        call.header(b"idempotency-key"),
        canary=body.canary,
    )
    return Answer(IssuedShape(**issued.for_owner()), 201)


@ROUTES.add("PATCH", "/keys/{id}", WRITE, KeyView, UpdateBody, headers=("If-Match",))
async def update(backend: Backend, call: Call) -> Answer:
    """Change the given fields of a key."""
    keys = keys_of(backend, call)
    body: UpdateBody = call.body
    await _check_powers_of(keys, call)
    _check_powers(call, body.scopes or ())
    fields = await _fields(keys, body)
    changed, revision = await lifecycle.update(
        keys, call.parts["id"], fields, _expected(call), plans=backend.policies().plans
    )
    return Answer(view(changed, await keys.now()), headers=(("ETag", f'"{revision}"'),))


@ROUTES.add("DELETE", "/keys/{id}", WRITE, KeyChange, headers=("If-Match",))
async def delete(backend: Backend, call: Call) -> Answer:
    """Delete a key and its record."""
    keys = keys_of(backend, call)
    await _check_powers_of(keys, call)
    return _changed(await lifecycle.delete(keys, call.parts["id"], _expected(call)))


@ROUTES.add("POST", "/keys/{id}/revoke", WRITE, KeyChange)
async def revoke(backend: Backend, call: Call) -> Answer:
    """Revoke a key."""
    return Answer(await revoked(keys_of(backend, call), call.parts["id"]))


async def revoked(keys: AuditedKeys, key_id: str) -> KeyChange:
    """Revoke a key. MissingError if there is none; StoreError if it may still be active."""
    await find_key(keys, key_id)
    change = (await lifecycle.revoke(keys, [key_id])).changes[0]
    if change.refused:
        # The key exists, so only Redis can have refused.
        await find_key(keys, key_id)
        raise StoreError(change.note)
    return change


@ROUTES.add("POST", "/keys/{id}/disable", WRITE, KeyChange)
async def disable(backend: Backend, call: Call) -> Answer:
    """Disable a key until it is enabled again."""
    keys = keys_of(backend, call)
    await find_key(keys, call.parts["id"])
    return _changed(await lifecycle.set_status(keys, call.parts["id"], DISABLED))


@ROUTES.add("POST", "/keys/{id}/enable", WRITE, KeyChange)
async def enable(backend: Backend, call: Call) -> Answer:
    """Enable a disabled key."""
    keys = keys_of(backend, call)
    await _check_powers_of(keys, call)
    return _changed(await lifecycle.set_status(keys, call.parts["id"], ACTIVE))


@ROUTES.add(
    "POST", "/keys/{id}/rotate", WRITE, IssuedShape, RotateBody, headers=("Idempotency-Key",)
)
async def rotate(backend: Backend, call: Call) -> Answer:
    """Rotate a key: give it a new secret."""
    body: RotateBody = call.body
    keys = keys_of(backend, call)
    await _check_powers_of(keys, call)
    issuer = Issuer(keys, backend.peppers, draw)
    marker = call.header(b"idempotency-key")
    issued = await issuer.rotate(call.parts["id"], span(body.grace), marker)
    return Answer(IssuedShape(**issued.for_owner()))


def _plan_or_default(plan: str | None, plans: Collection[str]) -> str:
    return default_plan(plans) if plan is None else plan


async def _fields(keys: AuditedKeys, body: CreateBody | UpdateBody) -> KeyFields:
    expires_at: int | None = None
    if body.expires is not None:
        # 0 stands for "never"; None would leave the expiry unchanged.
        expires_at = expiry_second(body.expires, await keys.now()) or 0
    return KeyFields(
        consumer=body.consumer,
        scopes=None if body.scopes is None else tuple(body.scopes),
        plan=body.plan,
        limits=body.limits,
        users=None if body.users is None else tuple(body.users),
        label=body.label,
        expires_at=expires_at,
    )


async def _check_powers_of(keys: AuditedKeys, call: Call) -> None:
    """Check the powers of the existing key that is acted on."""
    _check_powers(call, (await find_key(keys, call.parts["id"])).scopes.split())


def _check_powers(call: Call, items: Iterable[str]) -> None:
    """Raise ApiError 403 unless the caller may make or take over a key with these scopes: the power
    to make keys must not lead to power over the gateway."""
    powers = _powers(items)
    if powers and not call.caller.may(()):
        message = f"Only a key with gateway/admin can make or change keys with {powers[0]}."
        raise scope_denied(message, ADMIN)


def may_take_over(call: Call, scopes: Iterable[str]) -> bool:
    """Whether the caller may have a working secret of a key with these scopes."""
    return not _powers(scopes) or call.caller.may(())


def _powers(items: Iterable[str]) -> list[str]:
    return [item for item in items if item.startswith("gateway")]


def _expected(call: Call) -> str:
    """Return the revisions that If-Match names; empty if any will do."""
    wanted = call.header(b"if-match").strip()
    if wanted in ("", "*"):
        return ""
    # A header that names no valid revision must match none.
    return " ".join(_TAG.findall(wanted)) or "none"


def _changed(change: KeyChange) -> Answer:
    if change.refused:
        raise ApiError(409, "refused", change.note)
    return Answer(change)
