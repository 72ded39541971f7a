"""Answers that were compressed although nobody asked for it, undone on their way through."""

import asyncio
import zlib

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.inflate import Inflater, inflater
from gateway.protocol.http.request import values_of
from gateway.proxy.body import Body, BufferingWrapper
from gateway.proxy.upstream.connection import CutError

_CODING = b"content-encoding"
_PLAIN = frozenset({b"", b"identity"})
_COMPRESSED = (
    "The service compressed its answer in a way that was not asked for, so that it could not be "
    "searched for credentials. Tell the service's operator."
)


def inflated(head: AnswerHead, body: Body) -> Body:
    """Return a body that can be searched: `body` itself where it is not compressed.

    Remove the coding from `head`. Raise Denied(upstream_protocol) if the coding is not known.
    """
    if not head.encoded:
        return body
    coding = b",".join(values_of(head.headers, _CODING)).strip().lower()
    if coding in _PLAIN:
        return body
    undo = inflater(coding)
    if undo is None:
        raise Denied(Code.UPSTREAM_PROTOCOL, _COMPRESSED)
    head.headers = [header for header in head.headers if header[0].lower() != _CODING]
    return InflatedBody(body, undo)


class InflatedBody(BufferingWrapper):
    """The uncompressed content of a body, in pieces of bounded size."""

    def __init__(self, inner: Body, undo: Inflater) -> None:
        self._inner = inner
        self._undo = undo

    def read_nowait(self) -> bytes:
        self._undo.feed(self._inner.read_nowait())
        return self._take()

    async def readany(self) -> bytes:
        """Return the next piece, empty at the end; raise CutError if the body is broken or cut."""
        if self._cut is not None:
            raise self._cut
        while not (text := self._take()):
            piece = await self._inner.readany()
            if not piece:
                if not self._undo.whole:
                    raise CutError("The compressed answer was cut.")
                self._ended = True
                return b""
            self._undo.feed(piece)
        # A small piece can stand for many of these, and other requests are to have their turn.
        await asyncio.sleep(0)
        return text

    def _take(self) -> bytes:
        try:
            return self._undo.take()
        except zlib.error:
            raise CutError("The answer is not compressed as it says.") from None
