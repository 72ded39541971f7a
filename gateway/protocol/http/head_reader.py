"""The heads of one connection's requests, which have most of their headers in common."""

from itertools import chain

from gateway.protocol.http.methods import check_method
from gateway.protocol.http.request import Header, RequestHead, read_head, read_length
from gateway.protocol.http.target import parse_target

# Bytes of headers that a connection remembers while it is idle.
MOST_REMEMBERED = 4096


class HeadReader:
    """Reads the heads of one connection. Headers that are equal to those of the head before, but
    for the value of Content-Length, are not sorted again: most callers send the same ones in each
    request, and sorting them took a tenth of a request."""

    __slots__ = ("_head", "_length_at", "_raw")

    def __init__(self) -> None:
        self._head: RequestHead | None = None
        self._raw: tuple[Header, ...] = ()
        self._length_at = -1

    def read(
        self, method: str, raw_target: bytes, raw_headers: tuple[Header, ...], *, http10: bool
    ) -> RequestHead:
        """Return what `read_head` would return; raise Denied if it would."""
        last = self._head
        if not self._are_repeated(raw_headers) or (last is not None and http10 != last.http10):
            head = read_head(method, raw_target, raw_headers, http10=http10)
            self._remember(raw_headers, has_length=head.content_length is not None)
            return head
        if last is None:
            last = self._head = read_head(method, raw_target, raw_headers, http10=http10)
        check_method(method)
        length_at = self._length_at
        return RequestHead(
            method,
            parse_target(raw_target),
            http10,
            last.headers,
            last.fields,
            last.host,
            last.authority,
            last.keys,
            last.other_credential,
            last.subprotocols,
            last.user,
            None if length_at < 0 else read_length(raw_headers[length_at][1]),
            last.chunked,
        )

    def _remember(self, raw: tuple[Header, ...], *, has_length: bool) -> None:
        # They are sorted anew once more before the result is shared: connections of a proxy carry
        # the requests of many callers, which have little in common.
        self._head = None
        self._raw = raw if sum(map(len, chain.from_iterable(raw))) <= MOST_REMEMBERED else ()
        self._length_at = -1
        if self._raw and has_length:
            self._length_at = [name.lower() for name, _ in raw].index(b"content-length")

    def _are_repeated(self, raw: tuple[Header, ...]) -> bool:
        before, at = self._raw, self._length_at
        if at >= 0 and len(raw) == len(before):
            before = (*before[:at], (before[at][0], raw[at][1]), *before[at + 1 :])
        return raw == before
