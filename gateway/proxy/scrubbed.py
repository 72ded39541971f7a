"""A service's answer on its way back: no injected value leaves with it."""

from dataclasses import replace

from gateway.domain.errors import GatewayError
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.header_names import DRAFT_LIMITS, PLAIN_LIMITS
from gateway.protocol.scrub import Patterns, Scrubber, scrubbed_headers
from gateway.proxy.body import Body, BodyWrapper, WholeBody
from gateway.proxy.inflated import inflated
from gateway.proxy.upstream.outgoing import Injection, Outgoing
from gateway.services.credentials.inject import Injected

# Clouds answer 403 where a signature is made with a wrong key.
_REFUSALS, _SIGNED_REFUSALS = (401,), (401, 403)


class FallbackError(GatewayError):
    """Another upstream should be asked; nothing of this answer was passed on."""


class RefusedCredentialError(GatewayError):
    """Another version of the credential may be tried; nothing of this answer was passed on."""


def scrubbed(
    outgoing: Outgoing, injection: Injection, head: AnswerHead, payload: Body
) -> tuple[Outgoing, Body]:
    """Change `head` into what the caller may be shown. Return `outgoing` with the caller's lines
    about rate limits, and the body to show.

    Raise RefusedCredentialError if the service refused the injected credential, FallbackError if
    another upstream should be asked.
    """
    if injection.may_fall_back and (head.status == 429 or head.status >= 500):
        raise FallbackError("Another one should be asked.")
    check_refused(injection, head)
    outgoing = drop_service_limits(outgoing, head)
    known = injection.injected.secrets.patterns
    if known is None:
        return outgoing, payload
    head.headers = scrubbed_headers(head.headers, known)
    if head.bodiless:
        return outgoing, payload
    body = inflated(head, payload)
    # A replaced secret changes the length.
    if body.is_eof():
        text = known.replaced(body.read_nowait())
        head.content_length = len(text)
        return outgoing, WholeBody(text)
    head.content_length = None
    return outgoing, ScrubbedBody(body, injection.injected, known)


def check_refused(injection: Injection, head: AnswerHead) -> None:
    """Raise RefusedCredentialError if the answer means that the injected credential is refused."""
    values = injection.values
    refusals = _REFUSALS if values.signing is None else _SIGNED_REFUSALS
    if values.uses and head.status in refusals:
        raise RefusedCredentialError("The upstream refused the credential.")


def drop_service_limits(outgoing: Outgoing, head: AnswerHead) -> Outgoing:
    """Drop the service's draft rate-limit headers from `head`, since the gateway sends its own.
    Return `outgoing` without the gateway's plain ones if the service sends such."""
    if not (head.limited and outgoing.limited):
        return outgoing
    head.headers = [h for h in head.headers if h[0].lower() not in DRAFT_LIMITS]
    if not any(name.lower() in PLAIN_LIMITS for name, _ in head.headers):
        return outgoing
    lines = outgoing.own.splitlines(keepends=True)
    own = b"".join(line for line in lines if line.partition(b":")[0].lower() not in PLAIN_LIMITS)
    return replace(outgoing, own=own)


class ScrubbedBody(BodyWrapper):
    """A body without the secrets of its call, and without those that other calls were given
    meanwhile."""

    def __init__(self, inner: Body, injected: Injected, known: Patterns) -> None:
        self._inner = inner
        self._injected = injected
        self._scrubber = Scrubber(known)
        self._ended = False

    def at_eof(self) -> bool:
        return self._ended

    def read_nowait(self) -> bytes:
        return self._shown(self._inner.read_nowait())

    async def readany(self) -> bytes:
        """Return the next piece, empty at the end; raise CutError if the body is cut."""
        while not self._ended:
            piece = await self._inner.readany()
            shown = self._shown(piece)
            if not piece:
                self._ended = True
                shown += self._scrubber.end()
            if shown:
                return shown
        return b""

    def _shown(self, text: bytes) -> bytes:
        known = self._injected.secrets.patterns
        if known is not None:
            self._scrubber.patterns = known
        return self._scrubber.feed(text)
