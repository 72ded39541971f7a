"""A service's answer on its way back: nothing that was put into the call leaves with it."""

import zlib
from dataclasses import replace

from gateway.domain.errors import Code, Denied, GatewayError
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.header_names import DRAFT_LIMITS, PLAIN_LIMITS
from gateway.protocol.http.inflate import Inflater, inflater
from gateway.protocol.http.request import values_of
from gateway.protocol.scrub import Patterns, Scrubber, scrubbed_headers
from gateway.proxy.body import Body, BodyOver, WholeBody
from gateway.proxy.upstream.connection import CutError
from gateway.proxy.upstream.outgoing import Dress, Outgoing
from gateway.services.credentials.inject import Injected

# Clouds say 403 of a key that does not sign.
_REFUSALS, _SIGNED_REFUSALS = (401,), (401, 403)
_CODING = b"content-encoding"
_PLAIN = frozenset({b"", b"identity"})
_COMPRESSED = (
    "The service compressed its answer in a way that was not asked for, so that it could not be "
    "searched for credentials."
)


class PassedOverError(GatewayError):
    """Nothing of the answer was passed on: another one should be asked."""


class RefusedCredentialError(GatewayError):
    """Nothing of the answer was passed on: another version of the credential may be tried."""


def scrubbed(
    outgoing: Outgoing, dress: Dress, head: AnswerHead, payload: Body
) -> tuple[Outgoing, Body]:
    """Changes `head` into what may be shown; what its caller is told of limits, and its body.

    RefusedCredentialError where the service did not take what was put into the call;
    PassedOverError where somebody else should be asked.
    """
    if dress.may_pass_over and (head.status == 429 or head.status >= 500):
        raise PassedOverError("Another one should be asked.")
    check_refused(dress, head)
    outgoing = beside_limits(outgoing, head)
    known = dress.injected.secrets.patterns
    if known is None:
        return outgoing, payload
    head.headers = scrubbed_headers(head.headers, known)
    if head.bodiless:
        return outgoing, payload
    undo = opener(head)
    # What is replaced has another length.
    if undo is None and isinstance(payload, WholeBody):
        text = known.replaced(payload.take())
        head.content_length = len(text)
        return outgoing, WholeBody(text)
    body = ScrubbedBody(payload, dress.injected, known, undo)
    head.content_length = body.whole()
    return outgoing, body


def check_refused(dress: Dress, head: AnswerHead) -> None:
    """RefusedCredentialError where the answer means that what was put into the call is no good."""
    values = dress.values
    refusals = _REFUSALS if values.signing is None else _SIGNED_REFUSALS
    if values.uses and head.status in refusals:
        raise RefusedCredentialError("The service refused the credential.")


def beside_limits(outgoing: Outgoing, head: AnswerHead) -> Outgoing:
    """What its caller is told of limits, beside what the service says of its own."""
    if not (head.limited and outgoing.limited):
        return outgoing
    head.headers = [h for h in head.headers if h[0].lower() not in DRAFT_LIMITS]
    if not any(name.lower() in PLAIN_LIMITS for name, _ in head.headers):
        return outgoing
    lines = outgoing.own.splitlines(keepends=True)
    own = b"".join(line for line in lines if line.partition(b":")[0].lower() not in PLAIN_LIMITS)
    return replace(outgoing, own=own)


def opener(head: AnswerHead) -> Inflater | None:
    """What undoes the compression that nobody asked for; None: there is none."""
    if not head.encoded:
        return None
    coding = b",".join(values_of(head.headers, _CODING)).strip().lower()
    if coding in _PLAIN:
        return None
    found = inflater(coding)
    if found is None:
        raise Denied(Code.UPSTREAM_PROTOCOL, _COMPRESSED)
    head.headers = [header for header in head.headers if header[0].lower() != _CODING]
    return found


class ScrubbedBody(BodyOver):
    """What it gives has no secret in it, nor one that was put into another call meanwhile."""

    def __init__(
        self,
        payload: Body,
        injected: Injected,
        known: Patterns,
        inflater: Inflater | None,
    ) -> None:
        self._inner = payload
        self._injected = injected
        self._scrubber = Scrubber(known)
        self._inflater = inflater
        self._ended = False
        self._read: bytes | None = None

    def at_eof(self) -> bool:
        return self._ended and not self._read

    def whole(self) -> int | None:
        """The length of all of it, where it is all there."""
        if self._inflater is not None or not self._inner.is_eof():
            return None
        self._ended = True
        self._read = self._scrubber.patterns.replaced(self._inner.read_nowait(-1))
        return len(self._read)

    def read_nowait(self, most: int, /) -> bytes:
        """What is there, without waiting."""
        if self._read is not None:
            read, self._read = self._read, b""
            return read
        return self._shown(self._opened(self._inner.read_nowait(most)))

    async def readany(self) -> bytes:
        """The next piece; empty at the end, CutError where it is cut."""
        while not self._ended:
            text = self._opened(b"")
            if not text:
                piece = await self._inner.readany()
                if not piece:
                    return self._end()
                text = self._opened(piece)
            shown = self._shown(text)
            if shown:
                return shown
        return b""

    def _shown(self, text: bytes) -> bytes:
        known = self._injected.secrets.patterns
        if known is not None:
            self._scrubber.patterns = known
        return self._scrubber.feed(text)

    def _opened(self, piece: bytes) -> bytes:
        if self._inflater is None:
            return piece
        self._inflater.feed(piece)
        try:
            return self._inflater.take()
        except zlib.error:
            raise CutError("The answer is not compressed as it says.") from None

    def _end(self) -> bytes:
        self._ended = True
        if self._inflater is not None and not self._inflater.whole:
            raise CutError("The compressed answer was cut.")
        return self._shown(b"") + self._scrubber.end()
