"""`/admin/v1/keys/bulk`: one act on several keys, as the commands do with `--consumer`."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.change_keys import WRITE, may_take_over
from gateway.admin.fields import Span
from gateway.admin.keys import keys_of
from gateway.admin.routing import Answer, ApiError, Call, Input, Routes
from gateway.crypto.draw import draw
from gateway.domain.errors import GatewayError, UsageError
from gateway.domain.keys.views import KeyView, view
from gateway.domain.units import span
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.bulk import Act, all_of, change, claimed, rotations, would_rotate
from gateway.services.keys.issue import Issued, Issuer
from gateway.services.keys.lifecycle import KeyChange

ROUTES = Routes()
# Fewer rotations, because each new secret needs an argon2 run of about 50 ms.
MOST: Mapping[Act, int] = MappingProxyType(dict.fromkeys(Act, 500) | {Act.ROTATE: 50})
_ID = r"^[0-9A-Za-z]{12}$"
_NOTHING = "-"
_TAKES_OVER = frozenset({Act.ENABLE, Act.ROTATE})


class BulkBody(Input):
    """Either `ids` or `consumer`. `after`: only the consumer's keys after this id. `dry_run`: say
    what would be done, and change nothing."""

    act: Literal["revoke", "disable", "enable", "rotate"]
    ids: Annotated[list[Annotated[str, Field(pattern=_ID)]], Field(max_length=500)] = Field(
        default_factory=list
    )
    consumer: str = ""
    after: Annotated[str, Field(pattern=r"^([0-9A-Za-z]{12})?$")] = ""
    grace: Span = "0"
    dry_run: bool = False


class BulkResult(BaseModel):
    """The outcome for one key. `key`: its new secret, which is shown only here; empty if there is
    none."""

    id: str
    consumer: str
    outcome: str
    note: str = ""
    key: str = Field(default="", repr=False)


class BulkShape(BaseModel):
    """`next`: give it as `after` for the rest of a consumer's keys; null if there are no more.
    `replicated`: whether a replica has the revocations; null if none is attached."""

    results: list[BulkResult]
    next: str | None
    replicated: bool | None


@dataclass(frozen=True, slots=True)
class _Done:
    changes: Mapping[str, KeyChange]
    replicated: bool | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@ROUTES.add("POST", "/keys/bulk", WRITE, BulkShape, BulkBody, headers=("Idempotency-Key",))
async def bulk(backend: Backend, call: Call) -> Answer:
    """Revoke, disable, enable or rotate several keys."""
    body: BulkBody = call.body
    act, keys = Act(body.act), keys_of(backend, call)
    grace = span(body.grace)
    ids, following = await _chosen(keys, body, act)
    if not body.dry_run:
        ids, following = await _claimed(keys, call, body, ids, following)
    now = await keys.now()
    known = {record.id: view(record, now) async for record in keys.read(ids)}
    refused = {key_id: _refusal(call, act, known.get(key_id), key_id) for key_id in ids}
    able = [key_id for key_id in ids if not refused[key_id]]
    if act is Act.ROTATE and body.dry_run:
        done = _Done({one.id: one for one in await would_rotate(keys, able)})
    elif act is Act.ROTATE:
        issuer = Issuer(keys, backend.peppers, draw)
        marker = call.header(b"idempotency-key")
        rotated = rotations(issuer, able, grace, marker, revive=not body.consumer)
        done = await _rotated(rotated)
    else:
        changed = await change(keys, act, able, dry_run=body.dry_run)
        done = _Done({one.id: one for one in changed.changes}, changed.replicated)
    results = [_result(key_id, known.get(key_id), done, refused[key_id]) for key_id in ids]
    return Answer(BulkShape(results=results, next=following, replicated=done.replicated))


async def _chosen(keys: AuditedKeys, body: BulkBody, act: Act) -> tuple[list[str], str | None]:
    """Return the ids that this request is about, and the `after` of the next request."""
    most = MOST[act]
    if bool(body.ids) == bool(body.consumer):
        raise UsageError("Give either key ids or a consumer, for all of its keys.", "ids")
    if body.ids:
        ids = list(dict.fromkeys(body.ids))
        if len(ids) > most:
            message = f"One request can {act} at most {most} keys."
            raise ApiError(422, "invalid", message, [{"field": "ids", "message": message}])
        return ids, None
    theirs = [key.id for key in await all_of(keys, body.consumer, act) if key.id > body.after]
    return theirs[:most], theirs[most - 1] if len(theirs) > most else None


async def _claimed(
    keys: AuditedKeys, call: Call, body: BulkBody, ids: list[str], following: str | None
) -> tuple[list[str], str | None]:
    """Return the ids, and the next `after`, of the first request with this idempotency key, so that
    a repeat acts on the same keys, and on none that was made since."""
    marker = call.header(b"idempotency-key")
    if not marker:
        return ids, following
    then, *theirs = await claimed(keys, marker, body.model_dump_json(), following or _NOTHING, *ids)
    return theirs, None if then == _NOTHING else then


def _refusal(call: Call, act: Act, key: KeyView | None, key_id: str) -> str:
    if key is None:
        return f"There is no key {key_id}."
    if act in _TAKES_OVER and not may_take_over(call, key.scopes):
        return "Keys with power over the gateway are changed with gateway/admin alone."
    return ""


async def _rotated(rotated: AsyncIterator[tuple[str, Issued | GatewayError]]) -> _Done:
    changes, secrets = {}, {}
    async for key_id, turned in rotated:
        if isinstance(turned, GatewayError):
            changes[key_id] = KeyChange(key_id, "refused", str(turned))
        else:
            changes[key_id] = KeyChange(key_id, "rotated")
            secrets[key_id] = turned.key.text
    return _Done(changes, secrets=secrets)


def _result(key_id: str, key: KeyView | None, done: _Done, refused: str) -> BulkResult:
    changed = done.changes.get(key_id) or KeyChange(key_id, "refused", refused)
    return BulkResult(
        id=key_id,
        consumer=key.consumer if key else "",
        outcome=changed.outcome,
        note=changed.note,
        key=done.secrets.get(key_id, ""),
    )
