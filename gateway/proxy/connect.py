"""`/connect/<token>`: a user enters credentials of their own. The token alone gives access."""

from collections.abc import Callable

from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.errors import (
    Code,
    Denied,
    MissingError,
    OperationError,
    StoreError,
    UsageError,
    not_allowed,
)
from gateway.domain.links import LINK_SECONDS, Link
from gateway.protocol import connect_page
from gateway.protocol.connect_page import COOKIE, HEADERS, LONGEST_FORM, STYLE, Form, read_form
from gateway.protocol.cookies import read_cookies
from gateway.protocol.http.reply import Reply
from gateway.protocol.http.request import RequestHead, values_of
from gateway.proxy.exchange import Exchange
from gateway.proxy.uploads import read_whole
from gateway.services.admission.locate import CONNECT_PREFIX, READING
from gateway.services.audit.acts import asked_by
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.links import Links
from gateway.services.credentials.secrets_to_hide import is_too_short
from gateway.services.credentials.usable import check_usable
from gateway.services.credentials.vault import Vault

_STYLE_PATH = CONNECT_PREFIX + b"style.css"
_METHODS = (*READING, "POST")
_FORM = b"application/x-www-form-urlencoded"


class Connect:
    """`vault_for` returns a vault that records what is done with it as acts of this actor."""

    def __init__(
        self,
        links: Links,
        vault_for: Callable[[str], Vault],
        credentials: LiveCredentials,
    ) -> None:
        self._links = links
        self._vault_for = vault_for
        self._credentials = credentials

    async def answer(self, exchange: Exchange, head: RequestHead) -> None:
        """Answer with the same page for an invalid, a used and an expired token."""
        asked_by.set(exchange.request_id)
        if head.method not in _METHODS:
            raise not_allowed(_METHODS)
        if head.target.path == _STYLE_PATH:
            kind = ("Content-Type", "text/css; charset=utf-8")
            exchange.reply(Reply(200, (kind, ("Cache-Control", "max-age=3600")), STYLE))
            return
        lang = connect_page.language(_field(head, b"accept-language"))
        token = head.target.path[len(CONNECT_PREFIX) :].decode("ascii", "replace")
        session = read_cookies(_field(head, b"cookie")).get(COOKIE, "")
        try:
            link = await self._links.open(token, session)
            if link is None:
                _refuse(exchange, lang)
            elif head.method == "POST":
                await self._take(exchange, head, lang, token, session, link)
            else:
                exchange.reply(_page(200, connect_page.page(lang, link, await self._present(link))))
        except StoreError:
            raise Denied(Code.STORE_UNAVAILABLE, retry_after=1) from None

    async def _take(
        self,
        exchange: Exchange,
        head: RequestHead,
        lang: str,
        token: str,
        session: str,
        link: Link,
    ) -> None:
        _check_origin(head)
        body = await read_whole(exchange, head, LONGEST_FORM)
        form = _read_form(body, link)
        unfit = "" if form.remove else _unfit(_made(link, form))
        if unfit:
            # A refused form does not use the link up: mail scanners fill in forms.
            problem = connect_page.sentence(lang, unfit, form.wanted.name)
            await self._show(exchange, lang, link, ("", problem))
            return
        used = await self._links.use(token, link, session)
        if used is None:
            _refuse(exchange, lang)
            return
        place = f"Path=/connect/{token}; Max-Age={LINK_SECONDS}"
        secure = "; Secure" if exchange.client.hop.scheme == "https" else ""
        cookie = ("Set-Cookie", f"{COOKIE}={used}; {place}; HttpOnly; SameSite=Strict{secure}")
        await self._show(exchange, lang, link, await self._do(lang, link, form), cookie)

    async def _show(
        self,
        exchange: Exchange,
        lang: str,
        link: Link,
        outcome: tuple[str, str],
        *more: tuple[str, str],
    ) -> None:
        said, problem = outcome
        shown = connect_page.page(lang, link, await self._present(link), said=said, problem=problem)
        exchange.reply(_page(200 if said else 422, shown, *more))

    async def _do(self, lang: str, link: Link, form: Form) -> tuple[str, str]:
        """Do what the form asks. Return a sentence of success and one of failure; one is empty."""
        name = form.wanted.name
        vault, named = self._vault_for(f"user:{link.user}"), link.id_of(form.wanted)
        try:
            if form.remove:
                return connect_page.sentence(lang, await self._remove(vault, named), name), ""
            await vault.set(_made(link, form))
        except OperationError:
            return "", connect_page.sentence(lang, "bad", name)
        except StoreError:
            return "", connect_page.sentence(lang, "away")
        # This worker knows before its page says so, the others a moment later.
        await self._credentials.check()
        return connect_page.sentence(lang, "saved", name), ""

    async def _remove(self, vault: Vault, named: CredentialId) -> str:
        """Return the key of the sentence about the removal: another page of the same user may have
        removed it before."""
        try:
            await vault.delete(named)
        except MissingError:
            return "gone"
        finally:
            await self._credentials.check()
        return "removed"

    async def _present(self, link: Link) -> list[str]:
        known = self._credentials.known
        return [one.name for one in link.wanted if link.id_of(one) in known]


def _made(link: Link, form: Form) -> Credential:
    named, version = link.id_of(form.wanted), Version(1, form.fields)
    return Credential(named, form.wanted.type, version, created_by=f"user:{link.user}")


def _unfit(made: Credential) -> str:
    """Return the key of the sentence that says why this credential is refused; empty if it is
    not."""
    try:
        check_usable(made.type, made.current.fields)
    except ValueError:
        return "bad"
    return "short" if is_too_short(made) else ""


def _refuse(exchange: Exchange, lang: str) -> None:
    """Answer with a page for people; in logs and metrics it counts as any other refusal."""
    exchange.note_refusal(Denied(Code.NOT_FOUND))
    exchange.reply(_page(404, connect_page.page(lang, None)))


def _read_form(body: bytes, link: Link) -> Form:
    try:
        return read_form(body, link)
    except UsageError as problem:
        raise Denied(Code.BAD_REQUEST, str(problem)) from None


def _check_origin(head: RequestHead) -> None:
    """Raise Denied if the form was sent by another site. Such a form does not know the token, but
    an Origin header that names another site is respected all the same."""
    origin = _field(head, b"origin")
    host = origin.partition("://")[2]
    foreign = origin and origin != "null" and host != head.authority.decode("ascii")
    if foreign or not _field(head, b"content-type").encode().lower().startswith(_FORM):
        raise Denied(
            Code.BAD_REQUEST,
            "The form of this page is sent by this page alone. Open the link again.",
        )


def _field(head: RequestHead, name: bytes) -> str:
    found = next(iter(values_of(head.headers, name)), b"")
    return head.fields.get(name, found).decode("latin-1")


def _page(status: int, body: bytes, *more: tuple[str, str]) -> Reply:
    kind = ("Content-Type", "text/html; charset=utf-8")
    return Reply(status, (kind, *HEADERS, *more), body)
