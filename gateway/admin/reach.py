"""`…/reach` and `…/contain`: what a key or credential may reach and has reached; ending it."""

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.change_keys import revoked
from gateway.admin.keys import READ, keys_of
from gateway.admin.routing import Answer, Call, Input, Routes
from gateway.admin.vault import READ as READ_VAULT
from gateway.admin.vault import UsedCredential, name_of, shape_of
from gateway.domain.errors import StoreError
from gateway.domain.keys.reach import Reachable, places_of, reach
from gateway.domain.keys.scopes import parse_all
from gateway.domain.keys.views import State, view
from gateway.domain.units import DAY
from gateway.domain.usage import Counts
from gateway.services.credentials.uses import Use
from gateway.services.keys.find import find_key
from gateway.services.telemetry.usage_reports import reached

_CREDENTIAL, _OF_USER = "/credentials/{name}", "/users/{user}/credentials/{name}"
ROUTES = Routes()


class ReachShape(BaseModel):
    """`may`: what its scopes open under the policies in force. `hindrance`: why all of it is
    refused at this moment; empty if it is not. `reached`: the agents that it called, with counts.
    `credentials`: those that its calls used, by the audit.

    `whole`: whether all audit records of these days were looked at; if not, an export has them.
    `problem`: what could not be read.
    """

    id: str
    outcome: str = "looked at"
    hindrance: str
    may: tuple[Reachable, ...]
    reached: dict[str, Counts]
    credentials: tuple[Use, ...]
    whole: bool
    problem: str


class CredentialReach(BaseModel):
    """`places`: services, models and tools whose calls may carry it. `uses`: the keys whose calls
    did, or that pulled it. `whole` and `problem`: as in ReachShape."""

    credential: UsedCredential
    places: tuple[str, ...]
    uses: tuple[Use, ...]
    whole: bool
    problem: str


class DaysQuery(Input):
    days: Annotated[int, Field(ge=1, le=35)] = 7

    def since(self, now: float) -> float:
        """The start of the first of these days; today is the last."""
        return now - (self.days - 1) * DAY


class ContainBody(Input):
    """New values of at least one field; the old values end at once."""

    fields: Annotated[dict[str, str], Field(min_length=1)] = Field(repr=False)


@ROUTES.add("GET", "/keys/{id}/reach", READ, ReachShape, query=DaysQuery)
async def of_key(backend: Backend, call: Call) -> Answer:
    """Show what a key may reach, and what it reached."""
    return Answer(await _of_key(backend, call))


@ROUTES.add("POST", "/keys/{id}/contain", ("keys",), ReachShape, query=DaysQuery)
async def contain_key(backend: Backend, call: Call) -> Answer:
    """Revoke a key and show what it reached."""
    # Revoke first, so that nothing is reached after what is reported.
    change = await revoked(keys_of(backend, call), call.parts["id"])
    return Answer(await _of_key(backend, call, change.outcome))


@ROUTES.add(
    "GET",
    f"{_OF_USER}/reach",
    READ_VAULT,
    CredentialReach,
    query=DaysQuery,
    summary="Show where a user's own credential may go, and who used it",
)
@ROUTES.add("GET", f"{_CREDENTIAL}/reach", READ_VAULT, CredentialReach, query=DaysQuery)
async def of_credential(backend: Backend, call: Call) -> Answer:
    """Show where a credential may go, and who used it."""
    found = await backend.vault_for(call.caller.actor).show(name_of(call))
    return Answer(await _of_credential(backend, call, shape_of(backend, found)))


@ROUTES.add(
    "POST",
    f"{_CREDENTIAL}/contain",
    ("credentials-write",),
    CredentialReach,
    ContainBody,
    query=DaysQuery,
)
async def contain_credential(backend: Backend, call: Call) -> Answer:
    """Rotate a credential without grace and show who used the old values."""
    body: ContainBody = call.body
    vault = backend.vault_for(call.caller.actor)
    changed = await vault.rotate(name_of(call), body.fields, 0)
    return Answer(await _of_credential(backend, call, shape_of(backend, changed)))


async def _of_key(backend: Backend, call: Call, outcome: str = "looked at") -> ReachShape:
    query: DaysQuery = call.query
    key_id, since = call.parts["id"], query.since(backend.clock())
    counted, problem = await _counted(backend, key_id, since)
    used = await backend.look_back.uses(since, key_id=key_id)
    gone = outcome == "deleted"
    hindrance, may = ("the key is deleted", ()) if gone else await _reachable(backend, call)
    return ReachShape(
        id=key_id,
        outcome=outcome,
        hindrance=hindrance,
        may=may,
        reached=counted,
        credentials=used.uses,
        whole=used.whole and not problem,
        problem=_joined(problem, used.problem),
    )


async def _reachable(backend: Backend, call: Call) -> tuple[str, tuple[Reachable, ...]]:
    keys, policies = keys_of(backend, call), backend.policies()
    record = await find_key(keys, call.parts["id"])
    key = view(record, await keys.now())
    hindrance = "" if key.state is State.ACTIVE else f"the key is {key.state}"
    if not hindrance and record.plan and record.plan not in policies.plans:
        hindrance = f"the policies have no plan {record.plan!r}"
    return hindrance, reach(policies, parse_all(record.scopes))


async def _counted(backend: Backend, key_id: str, since: float) -> tuple[dict[str, Counts], str]:
    """Return the counts by agent, and the problem if they cannot be read: that must not fail a
    request which has already revoked the key."""
    try:
        found = await reached(backend.usage, key_id, since, backend.clock())
    except StoreError as problem:
        return {}, str(problem)
    return {name or "none": counts for name, counts in sorted(found.items())}, ""


async def _of_credential(
    backend: Backend, call: Call, credential: UsedCredential
) -> CredentialReach:
    query: DaysQuery = call.query
    since = query.since(backend.clock())
    used = await backend.look_back.uses(since, credential=credential.name)
    return CredentialReach(
        credential=credential,
        places=places_of(backend.policies(), name_of(call)),
        uses=used.uses,
        whole=used.whole,
        problem=used.problem,
    )


def _joined(*problems: str) -> str:
    return " ".join(dict.fromkeys(filter(None, problems)))
