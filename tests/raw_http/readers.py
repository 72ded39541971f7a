"""Readers of HTTP/1.1 requests: one that takes nothing but RFC 9112, and some as lax as real
servers are. What they do not all read alike is ambiguous, whatever the agent is."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_SIZE = re.compile(rb"[0-9a-f]{1,8}")

Header = tuple[bytes, bytes]


class MalformedError(Exception):
    """These bytes are no HTTP."""


class IncompleteError(Exception):
    """These bytes may become HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    method: bytes
    target: bytes
    headers: tuple[Header, ...]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found.lower() == name]


def read_strictly(data: bytes) -> tuple[list[Request], bytes]:
    """All whole requests and the beginning of one more; MalformedError for anything else."""
    requests = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            break
        lines = head.split(b"\r\n")
        line, fields = _REQUEST_LINE.fullmatch(lines[0]), [_FIELD.fullmatch(x) for x in lines[1:]]
        if line is None or None in fields:
            raise MalformedError(head)
        headers = tuple((f[1], f[2]) for f in fields if f is not None)
        framing = [(n.lower(), v) for n, v in headers if n.lower() in _FRAMING]
        if len([n for n, _ in headers if n.lower() == b"host"]) != 1 or len(framing) > 1:
            raise MalformedError(head)
        try:
            body, rest = _strict_body(framing, rest)
        except IncompleteError:
            break
        requests.append(Request(line[1], line[2], headers, body))
        data = rest
    return requests, data


_FRAMING = (b"content-length", b"transfer-encoding")


def _strict_body(framing: list[Header], rest: bytes) -> tuple[bytes, bytes]:
    match framing:
        case []:
            return b"", rest
        case [(b"content-length", length)] if length.isdigit():
            if len(rest) < int(length):
                raise IncompleteError
            return rest[: int(length)], rest[int(length) :]
        case [(b"transfer-encoding", b"chunked")]:
            return _strict_chunks(rest)
    raise MalformedError(framing)


def _strict_chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise IncompleteError
        if not _SIZE.fullmatch(line):
            raise MalformedError(line)
        size = int(line, 16)
        if len(rest) < size + 2:
            raise IncompleteError
        if rest[size : size + 2] != b"\r\n":
            raise MalformedError(rest[size : size + 2])
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest


def _same(name: bytes) -> bytes:
    return name


def _folded(name: bytes) -> bytes:
    return re.sub(rb"[_.\s]", b"-", name.strip())


@dataclass(frozen=True, slots=True)
class Lax:
    """`line_end`: what ends a line for it. `length_wins` where both framings are there, and the
    `last` of several lengths counts. `name`: what it makes of a header's name."""

    line_end: bytes = rb"\r\n"
    length_wins: bool = False
    last: bool = False
    name: Callable[[bytes], bytes] = _same

    def read(self, data: bytes) -> list[Request]:
        """Whatever it takes for requests, as far as it gets."""
        requests = []
        try:
            while data.strip():
                request, data = self._one(data.lstrip(b"\r\n"))
                requests.append(request)
        except (IncompleteError, MalformedError):
            pass
        return requests

    def _one(self, data: bytes) -> tuple[Request, bytes]:
        line, data = self._line(data)
        words = line.split()
        if len(words) < 2:
            raise MalformedError(line)
        headers: list[Header] = []
        while True:
            line, data = self._line(data)
            if not line:
                break
            name, _, value = line.partition(b":")
            headers.append((self.name(name).lower(), value.strip()))
        body, data = self._body(headers, data)
        return Request(words[0], words[1], tuple(headers), body), data

    def _line(self, data: bytes) -> tuple[bytes, bytes]:
        match = re.search(self.line_end, data)
        if match is None:
            raise IncompleteError
        return data[: match.start()], data[match.end() :]

    def _body(self, headers: list[Header], data: bytes) -> tuple[bytes, bytes]:
        lengths = [value for name, value in headers if name == b"content-length"]
        codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
        if b"chunked" in codings.lower() and not (lengths and self.length_wins):
            return self._chunks(data)
        if not lengths:
            return b"", data
        digits = re.match(rb"\+?(\d+)", lengths[-1 if self.last else 0])
        length = int(digits[1]) if digits else 0
        if len(data) < length:
            raise IncompleteError
        return data[:length], data[length:]

    def _chunks(self, data: bytes) -> tuple[bytes, bytes]:
        body = b""
        while True:
            line, data = self._line(data)
            digits = re.match(rb"\s*(?:0x)?([0-9a-fA-F]+)", line)
            if digits is None:
                raise MalformedError(line)
            size = int(digits[1], 16)
            if size == 0:
                while line:
                    line, data = self._line(data)
                return body, data
            if len(data) < size:
                raise IncompleteError
            body, data = body + data[:size], data[size:]
            _, data = self._line(data)


LAX = {
    "as most do": Lax(),
    "lines end at LF": Lax(line_end=rb"\r?\n"),
    "lines end at CR too": Lax(line_end=rb"\r\n|\r|\n"),
    "a length wins over chunks": Lax(length_wins=True),
    "the last length counts": Lax(length_wins=True, last=True),
    "names as CGI has them": Lax(name=_folded),
    "names as CGI has them, and a length wins": Lax(length_wins=True, name=_folded),
}


def agreed(data: bytes) -> list[Request]:
    """The whole requests in `data`, if every reader reads the same ones; else MalformedError."""
    requests, _ = read_strictly(data)
    seen = [(r.method, r.target, r.body) for r in requests]
    for name, lax in LAX.items():
        read = [(r.method, r.target, r.body) for r in lax.read(data)]
        if read != seen:
            raise MalformedError(f"{name}: {read} instead of {seen}")
    return requests
