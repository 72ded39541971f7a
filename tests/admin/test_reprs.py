"""What holds a secret on its way in or out does not show it to whoever prints it."""

from gateway.admin.bulk import BulkResult
from gateway.admin.change_keys import IssuedShape
from gateway.admin.console.console import _Visit
from gateway.admin.console.session import Session
from gateway.admin.console.view import Page
from gateway.admin.reach import ContainBody
from gateway.admin.routing import Answer, Call, Caller
from gateway.admin.vault import LinkShape, RotateBody, SetBody
from gateway.domain.keys.scopes import Grants
from gateway.domain.links import RequestedCredential
from gateway.protocol.connect_page import Form
from gateway.services.admin_request import AdminRequest
from gateway.services.credentials.links import NewLink

SECRET = "s3cret-that-nobody-prints"
CALLER = Caller("aaaaaaaaaaaa", "ops", Grants(()))


async def _never(*_: object) -> None:
    raise AssertionError


def test_no_secret_is_in_a_repr() -> None:
    headers = {b"cookie": SECRET.encode()}
    body = SetBody(type="api_key", fields={"value": SECRET})
    contained = ContainBody(fields={"value": SECRET})
    rotated = BulkResult(id="a", consumer="c", outcome="rotated", key=SECRET)
    issued = IssuedShape(id="a", key=SECRET, consumer="c", scopes=(), plan=None, expires_at=None)
    link = LinkShape(url=SECRET, path=SECRET, user="u", credentials=[], expires_at=1)
    request = AdminRequest(
        "GET",
        "/",
        b"",
        headers,
        "r",
        False,
        "",
        _never,
        _never,
        _never,  # type: ignore[arg-type]
    )
    for thing in (
        body,
        RotateBody(fields={"value": SECRET}),
        Call(CALLER, {}, headers, None, body),
        Answer(issued),
        contained,
        rotated,
        Page("keys", {"issued": issued, "link": link}),
        Form(RequestedCredential("crm"), remove=False, fields={"value": SECRET}),
        NewLink(SECRET, "u", (), 1),
        Session(CALLER, SECRET),
        request,
        _Visit(request, "en", SECRET, None, ""),
    ):
        assert SECRET not in repr(thing), type(thing)
