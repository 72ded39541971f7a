"""`/console/`: pages on top of the admin API's handlers; every act goes through these."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from gateway.admin.backend import Backend
from gateway.admin.console.places import find, menu_of, page_of_form, takes_forms
from gateway.admin.console.refusal import Refusal, refusal_of
from gateway.admin.console.render import HEADERS, STATIC, render
from gateway.admin.console.session import COOKIE, SESSION_SECONDS, Session, Sessions, is_csrf
from gateway.admin.console.view import FIELD, Page, Redirect, filled
from gateway.admin.routing import Answer, ApiError, Caller
from gateway.domain.errors import Denied, GatewayError, OperationError, StoreError, UsageError
from gateway.domain.keys.key import contains_key, masked
from gateway.protocol.connect_page import language
from gateway.protocol.cookies import read_cookies
from gateway.protocol.http.reply import Reply, Streamed
from gateway.services.admin_request import AdminRequest

HOME = "/console/"
LONGEST_FORM = 256 * 1024
MOST_ITEMS = 200
LANGUAGE = "gateway_console_lang"
UNKNOWN_KEY = "This key cannot sign in."
POWERLESS = (
    "This key is valid, but opens no page here: it lacks a scope such as gateway/read. Add the "
    "scope to the key, or sign in with another key."
)
ENDED = "You were signed out, or your key has ended. Sign in again."
UNDONE = "Nothing was done: you were signed out, or your key has ended. Sign in and try again."


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request of a browser. `token`: its session cookie. `here`: its entry in the menu."""

    request: AdminRequest
    lang: str
    token: str = field(repr=False)
    session: Session | None
    here: str


class Console:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._sessions = Sessions(backend)

    async def __call__(self, request: AdminRequest) -> Reply | Streamed | None:
        """Answer a request to the console; None if its path is not the console's."""
        if request.path == "/console":
            return _see_other(HOME)
        if not request.path.startswith(HOME):
            return None
        rest = request.path.removeprefix(HOME)
        if rest.startswith("static/"):
            return _static(rest.removeprefix("static/"))
        cookies = read_cookies(_header(request, b"cookie"))
        lang = cookies.get(LANGUAGE, "") or language(_header(request, b"accept-language"))
        lang = lang if lang in ("en", "zh") else "en"
        token = cookies.get(COOKIE, "")
        try:
            session = await self._sessions.get(token) if token else None
        except StoreError as problem:
            visit = _Visit(request, lang, token, None, "")
            return _message(visit, refusal_of(problem))
        here = rest.partition("/")[0]
        return await self._answer(_Visit(request, lang, token, session, here), rest)

    async def _answer(self, visit: _Visit, rest: str) -> Reply | Streamed:
        try:
            return await self._dispatch(visit, rest)
        except GatewayError as problem:
            if isinstance(problem, Denied) and problem.close:
                # The connection has to be closed, which the listener does.
                raise
            return _message(visit, refusal_of(problem))

    async def _dispatch(self, visit: _Visit, rest: str) -> Reply | Streamed:
        if visit.request.method == "POST":
            return await self._take(visit, rest)
        if visit.request.method not in ("GET", "HEAD"):
            raise ApiError(405, "method_not_allowed", "Use GET or POST here.")
        if visit.session is None:
            return _login(visit, ENDED if visit.token else "")
        return await self._show(visit, rest, _query(visit.request))

    async def _take(self, visit: _Visit, rest: str) -> Reply | Streamed:
        _check_origin(visit.request)
        form = _pairs(await visit.request.read_body(LONGEST_FORM))
        if rest == "language":
            return _language(form)
        if rest == "login":
            return await self._begin(visit, form)
        if visit.session is None:
            return _login(visit, ENDED if rest == "logout" else UNDONE)
        if not is_csrf(visit.session, form.pop("csrf", "")):
            raise ApiError(403, "forged", "This form is of another session: load the page again.")
        if rest == "logout":
            await self._sessions.end(visit.token)
            return _see_other(HOME, _cookie(COOKIE, "", visit.request, seconds=0))
        try:
            return await self._show(visit, rest, form, written=True)
        except (ApiError, UsageError, OperationError) as problem:
            return await self._again(visit, rest, form, refusal_of(problem))

    async def _again(
        self, visit: _Visit, rest: str, form: Mapping[str, str], refusal: Refusal
    ) -> Reply | Streamed:
        """Show the page of the form again, with everything that was entered except secrets."""
        place = page_of_form(rest)
        if refusal.status not in (409, 412, 422) or place is None:
            return _message(visit, refusal)
        kept = {name: value for name, value in form.items() if not _is_secret(name, value)}
        shown = await self._shown(visit, place, _query(visit.request), written=False)
        return _reply(visit, shown, refusal.status, refusal=refusal, sent=kept)

    async def _begin(self, visit: _Visit, form: Mapping[str, str]) -> Reply:
        """Sign in. The session gets a new token, so that nobody can fix it in advance."""
        back = form.get("back", "")
        identity = await visit.request.identify_key(form.get("key", "").strip())
        if identity is None:
            return _login(visit, UNKNOWN_KEY, 401, back)
        menu = menu_of(Caller(identity.key_id, identity.consumer, identity.grants))
        if not menu:
            return replace(_login(visit, POWERLESS, 403, back), denied="scope_denied")
        if visit.token:
            await self._sessions.end(visit.token)
        token = await self._sessions.begin(identity)
        place = back if _is_own(back) and _first(back) in dict(menu) else HOME
        return _see_other(place, _cookie(COOKIE, token, visit.request, seconds=SESSION_SECONDS))

    async def _show(
        self, visit: _Visit, rest: str, sent: Mapping[str, str], *, written: bool = False
    ) -> Reply | Streamed:
        session = visit.session
        menu = menu_of(session.caller) if session else ()
        if rest == "" and menu and menu[0][0] != rest:
            return _see_other(HOME + menu[0][0])
        page = page_of_form(rest)
        if not written and page not in (None, rest) and takes_forms(rest):
            # The browser shows this address after a form; loading it again should show the page.
            return _see_other(f"{HOME}{page}")
        return _reply(visit, await self._shown(visit, rest, sent, written=written))

    async def _shown(
        self, visit: _Visit, rest: str, sent: Mapping[str, str], *, written: bool
    ) -> Page | Redirect | Answer:
        view, parts = find(rest, written=written)
        session = visit.session
        if session is None or not session.caller.may(view.powers):
            needed = ", ".join(f"gateway/{power}" for power in (*view.powers, "admin"))
            raise ApiError(403, "scope_denied", f"This needs one of {needed}.")
        return await view.show(self._backend, session.caller, parts, sent)


def _back(request: AdminRequest) -> str:
    """The address at which the answered page can be loaded again."""
    rest = request.path.removeprefix(HOME)
    if request.method == "POST":
        return HOME + (page_of_form(rest) or "")
    return request.path + request.query.decode("ascii", "replace")


def _reply(
    visit: _Visit,
    shown: Page | Redirect | Answer,
    status: int = 200,
    *,
    refusal: Refusal | None = None,
    sent: Mapping[str, str] = MappingProxyType({}),
) -> Reply | Streamed:
    if isinstance(shown, Redirect):
        return _see_other(HOME + shown.place)
    if isinstance(shown, Page):
        return _page(visit, shown, status, refusal=refusal, sent=sent)
    assert shown.pieces is not None  # noqa: S101 (views answer with streams alone)
    headers = (("Content-Type", shown.media), *HEADERS, *shown.headers)
    return Streamed(shown.status, headers, shown.pieces)


def _page(
    visit: _Visit,
    shown: Page,
    status: int = 200,
    *,
    refusal: Refusal | None = None,
    sent: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """`sent`: what was entered in the form that is refused."""
    values = dict(shown.values)
    if "more" in values:
        values["more"] = urlencode(filled(values["more"]))
    session = visit.session
    around = {
        "session": session,
        "menu": menu_of(session.caller) if session else (),
        "here": visit.here,
        "back": _back(visit.request),
        "refusal": refusal,
        # Fields that were not sent are empty.
        "sent": defaultdict(str, sent),
    }
    body = render(shown.template, visit.lang, **(around | values))
    return Reply(status, (("Content-Type", "text/html; charset=utf-8"), *HEADERS), body)


def _login(visit: _Visit, problem: str, status: int = 401, back: str = "") -> Reply:
    """`back`: the page to go to after signing in; by default, the one requested now."""
    nobody = replace(visit, token="", session=None)
    values = {"problem": problem, "back": masked(back or _back(visit.request))}
    return _page(nobody, Page("login", values), status if problem else 200)


def _message(visit: _Visit, refusal: Refusal) -> Reply:
    return _page(visit, Page("message", {"alone": True}), refusal.status, refusal=refusal)


def _language(form: Mapping[str, str]) -> Reply:
    lang, back = form.get("lang", ""), form.get("back", "")
    if lang not in ("en", "zh") or not _is_own(back):
        raise ApiError(400, "bad_request", "There is no such language.")
    year = 365 * 86_400
    return _see_other(back, f"{LANGUAGE}={lang}; Path={HOME}; Max-Age={year}; SameSite=Strict")


def _is_secret(name: str, value: str) -> bool:
    """Whether a form field may hold a secret."""
    return name.startswith(FIELD) or contains_key(value)


def _first(place: str) -> str:
    """The first part of a page's path below /console/."""
    return re.split(r"[/?]", place.removeprefix(HOME), maxsplit=1)[0]


def _is_own(place: str) -> bool:
    path = place.partition("?")[0]
    plain = place.isascii() and place.isprintable() and "\\" not in place
    return plain and path.startswith(HOME) and "//" not in path


def _static(name: str) -> Reply:
    found = STATIC.get(name)
    if found is None:
        return Reply(404, (("Content-Type", "text/plain"), *HEADERS), b"not found\n")
    kind, body = found
    kept = tuple(pair for pair in HEADERS if pair[0] != "Cache-Control")
    return Reply(200, (("Content-Type", kind), ("Cache-Control", "max-age=300"), *kept), body)


def _see_other(place: str, cookie: str = "") -> Reply:
    headers: tuple[tuple[str, str], ...] = (("Location", place), *HEADERS)
    if cookie:
        headers += (("Set-Cookie", cookie),)
    return Reply(303, headers, b"")


def _cookie(name: str, value: str, request: AdminRequest, *, seconds: int) -> str:
    secure = "; Secure" if request.secure else ""
    return f"{name}={value}; Path={HOME}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _check_origin(request: AdminRequest) -> None:
    origin = _header(request, b"origin")
    if origin and origin.partition("://")[2] != request.authority:
        raise ApiError(403, "forged", "Forms of other sites are refused.")


def _header(request: AdminRequest, name: bytes) -> str:
    return request.headers.get(name, b"").decode("latin-1")


def _query(request: AdminRequest) -> dict[str, str]:
    return _pairs(request.query.removeprefix(b"?"))


def _pairs(text: bytes) -> dict[str, str]:
    try:
        found = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_ITEMS)
    except ValueError:
        raise ApiError(400, "bad_request", "This is not a form of the console.") from None
    return dict(found)
