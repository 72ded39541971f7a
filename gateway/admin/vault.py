"""`/admin/v1/credentials` and `/users`. No answer ever holds a value."""

from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.admin.backend import Backend
from gateway.admin.fields import CredentialType, Expiry, Span, Wanted, field_error
from gateway.admin.paging import page_of
from gateway.admin.routing import Answer, Call, Input, Routes, bad_field
from gateway.admin.times import expiry_second
from gateway.domain.credentials import (
    Credential,
    CredentialId,
    Version,
    parse_id,
)
from gateway.domain.errors import UsageError
from gateway.domain.keys.reach import places_of
from gateway.domain.links import check_user, read_requested
from gateway.domain.units import span
from gateway.services.credentials.links import by_user
from gateway.services.credentials.usable import check_usable
from gateway.services.credentials.vault import order
from gateway.services.credentials.views import CredentialView

READ, WRITE = ("read", "credentials-write"), ("credentials-write",)
ROUTES = Routes()


@dataclass(frozen=True, slots=True)
class UsedCredential(CredentialView):
    """`used_by`: services, models and tools whose calls may carry it."""

    used_by: tuple[str, ...] = ()


class CredentialList(BaseModel):
    """`age`: seconds since the vault last answered this worker. `last_error`: why it did not."""

    credentials: list[UsedCredential]
    next: str | None
    age: float | None
    last_error: str


class Removed(BaseModel):
    removed: list[str]


class LinkShape(BaseModel):
    """`url`: works once, for 15 minutes. `path`: the same below another address of the data
    listener."""

    url: str = Field(repr=False)
    path: str = Field(repr=False)
    user: str
    credentials: list[str]
    expires_at: int


class LinksEnded(BaseModel):
    """`links_ended`: how many were open."""

    user: str
    links_ended: int


class UserShape(BaseModel):
    user: str
    credentials: list[str]
    link_seconds: int | None


class UserList(BaseModel):
    users: list[UserShape]
    next: str | None


class SearchQuery(Input):
    """`search`: a part of the name. Without `limit`, all that match are listed."""

    search: str = ""
    after: str = ""
    limit: Annotated[int, Field(ge=1, le=500)] | None = None


class SetBody(Input):
    type: CredentialType
    fields: dict[str, str] = Field(repr=False)
    expires: Expiry | None = None
    max_stale: Annotated[int, Field(ge=0)] | None = None

    @field_validator("fields")
    @classmethod
    def _are_of_its_type(cls, fields: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if "type" in info.data:
            try:
                check_usable(info.data["type"], fields)
            except ValueError as problem:
                raise field_error(problem) from None
        return fields


class RotateBody(Input):
    """New values of at least one field."""

    fields: Annotated[dict[str, str], Field(min_length=1)] = Field(repr=False)
    grace: Span = "0"
    expires: Expiry | None = None


class LinkBody(Input):
    """`credentials`: such as `["github", "aliyun:ak_sk"]`, or `github,aliyun:ak_sk`."""

    credentials: Wanted


def name_of(call: Call) -> CredentialId:
    text = call.parts["name"]
    if user := call.parts.get("user"):
        text = f"user/{user}/{text}"
    return _id(text, "name")


def _id(text: str, field: str) -> CredentialId:
    try:
        return parse_id(text)
    except ValueError as problem:
        raise UsageError(str(problem), field) from None


def shape_of(backend: Backend, view: CredentialView) -> UsedCredential:
    used_by = places_of(backend.policies(), parse_id(view.name))
    return UsedCredential(**asdict(view), used_by=used_by)


@ROUTES.add("GET", "/credentials", READ, CredentialList, query=SearchQuery)
async def list_credentials(backend: Backend, call: Call) -> Answer:
    """List credentials."""
    query: SearchQuery = call.query
    vault = backend.vault_for(call.caller.actor)
    named = [one for one in await vault.names() if query.search in str(one)]
    after = order(_id(query.after, "after")) if query.after else ("", "")
    page, more = page_of(named, order, after, query.limit)
    age = backend.credentials.age
    return Answer(
        CredentialList(
            credentials=[shape_of(backend, view) for view in await vault.views(page)],
            next=str(page[-1]) if more else None,
            age=age if age < float("inf") else None,
            last_error=backend.credentials.last_error,
        )
    )


@ROUTES.add("GET", "/credentials/{name}", READ, UsedCredential)
async def show(backend: Backend, call: Call) -> Answer:
    """Show a credential."""
    view = await backend.vault_for(call.caller.actor).show(name_of(call))
    return Answer(shape_of(backend, view))


@ROUTES.add("PUT", "/credentials/{name}", WRITE, UsedCredential, SetBody)
async def put(backend: Backend, call: Call) -> Answer:
    """Create or replace a credential."""
    body: SetBody = call.body
    vault = backend.vault_for(call.caller.actor)
    made = Credential(
        name_of(call),
        body.type,
        Version(1, body.fields),
        expires_at=expiry_second(body.expires, await vault.now()),
        max_stale=body.max_stale,
        created_by=call.caller.actor,
    )
    return Answer(shape_of(backend, await vault.set(made)))


@ROUTES.add("POST", "/credentials/{name}/rotate", WRITE, UsedCredential, RotateBody)
async def rotate(backend: Backend, call: Call) -> Answer:
    """Rotate a credential: replace its values."""
    body: RotateBody = call.body
    vault = backend.vault_for(call.caller.actor)
    view = await vault.rotate(
        name_of(call),
        body.fields,
        int(span(body.grace)),
        expires_at=expiry_second(body.expires, await vault.now()),
        keep_expiry=body.expires is None,
    )
    return Answer(shape_of(backend, view))


@ROUTES.add(
    "DELETE",
    "/users/{user}/credentials/{name}",
    WRITE,
    Removed,
    summary="Delete a user's credential",
)
@ROUTES.add("DELETE", "/credentials/{name}", WRITE, Removed)
async def delete(backend: Backend, call: Call) -> Answer:
    """Delete a credential."""
    name = name_of(call)
    await backend.vault_for(call.caller.actor).delete(name)
    return Answer(Removed(removed=[str(name)]))


@ROUTES.add("POST", "/users/{user}/links", WRITE, LinkShape, LinkBody, status=201)
async def link(backend: Backend, call: Call) -> Answer:
    """Make a one-time link for a user."""
    body: LinkBody = call.body
    user = check_user(call.parts["user"])
    try:
        wanted = read_requested(body.credentials)
    except UsageError as problem:
        raise bad_field("credentials", str(problem)) from None
    made = await backend.links.make(user, wanted, backend.acts(call.caller.actor))
    shape = LinkShape(
        url=made.url(backend.url()),
        path=made.path,
        user=user,
        credentials=[one.name for one in made.wanted],
        expires_at=made.expires_at,
    )
    return Answer(shape, 201)


@ROUTES.add("DELETE", "/users/{user}/links", WRITE, LinksEnded)
async def end_links(backend: Backend, call: Call) -> Answer:
    """End a user's open links."""
    user = check_user(call.parts["user"])
    ended = await backend.links.end_all_of(user, backend.acts(call.caller.actor))
    return Answer(LinksEnded(user=user, links_ended=ended))


@ROUTES.add("GET", "/users", READ, UserList, query=SearchQuery)
async def list_users(backend: Backend, call: Call) -> Answer:
    """List users with credentials of their own or an open link."""
    query: SearchQuery = call.query
    waiting = await backend.links.waiting()
    brought = by_user(await backend.vault_for(call.caller.actor).names(), waiting)
    named = [user for user in brought if query.search in user]
    page, more = page_of(named, str, query.after, query.limit)
    users = [
        UserShape(user=user, credentials=brought[user], link_seconds=waiting.get(user))
        for user in page
    ]
    return Answer(UserList(users=users, next=page[-1] if more else None))
