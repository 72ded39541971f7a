"""Requests as no client would send them, and what has to become of each.

`{key}` is a good key. HIDDEN is what an attacker would have the agent take for a request.
"""

from enum import Enum, auto
from typing import NamedTuple


class Verdict(Enum):
    REFUSED = auto()
    """Answered with 400 to 499, or with a close; the agent sees nothing."""
    ONCE = auto()
    """The agent gets it exactly once, with the body that was meant."""
    EITHER = auto()
    """Refused, or passed on once."""
    WAITS = auto()
    """It is not whole: the agent gets nothing that it could take for whole."""


class Case(NamedTuple):
    """`body`: what the agent gets, where it gets the request at all."""

    name: str
    data: bytes
    verdict: Verdict
    body: bytes = b""


REFUSED, ONCE, EITHER, WAITS = Verdict.REFUSED, Verdict.ONCE, Verdict.EITHER, Verdict.WAITS
TARGET = b"/agents/echo/x"
AUTH = b"Host: a\r\nAuthorization: Bearer {key}\r\n"
HIDDEN = b"GET /agents/echo/hidden HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
H2C = (b"Connection: upgrade", b"Upgrade: h2c")
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def get(*lines: bytes, target: bytes = TARGET, version: bytes = b"HTTP/1.1") -> bytes:
    return _request(b"GET", target, version, lines, b"")


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return _request(b"POST", TARGET, b"HTTP/1.1", lines, body)


def chunks(body: bytes, *lines: bytes) -> bytes:
    return post(CHUNKED, *lines, body=body)


def _request(
    method: bytes, target: bytes, version: bytes, lines: tuple[bytes, ...], body: bytes
) -> bytes:
    head = b"%b %b %b\r\n" % (method, target, version) + AUTH
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def length(number: int) -> bytes:
    return b"Content-Length: %d" % number


def both(coding: bytes, body: bytes = b"0\r\n\r\n" + HIDDEN) -> bytes:
    """A length, and a line that some take for chunked."""
    return post(length(len(body)), coding, body=body)


PLAIN: list[Case] = [
    Case("a GET", get(), ONCE),
    Case("an empty value", get(b"X-A:", b"X-B: "), ONCE),
    Case("blanks and tabs around a value", get(b"X-A:\t b \t"), ONCE),
    Case("bytes above ASCII in a value", get(b"X-A: caf\xc3\xa9 \xff"), ONCE),
    Case("names in any case", get(b"x-a: 1", b"X-B: 2", b"cONNECTION: close"), ONCE),
    Case("a body with a length", post(length(5), body=b"hello"), ONCE, b"hello"),
    Case("an empty body", post(length(0)), ONCE),
    Case("no body at all", post(), ONCE),
    Case("a body in chunks", chunks(HELLO), ONCE, b"hello"),
    Case("a body in two chunks", chunks(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), ONCE, b"hello"),
    Case("chunk sizes in any case", chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), ONCE, b"0123456789"),
    Case("the coding in any case", post(b"transfer-ENCODING: Chunked", body=HELLO), ONCE, b"hello"),
    Case("a request hidden in a body", post(length(len(HIDDEN)), body=HIDDEN), ONCE, HIDDEN),
    Case(
        "a request hidden in a chunk",
        chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
        ONCE,
        HIDDEN,
    ),
    Case("blank lines before it", b"\r\n\r\n" + get(), EITHER),
    Case("two blanks after the method", get(target=b" " + TARGET), REFUSED),
    Case("two blanks before the version", get(target=TARGET + b" "), REFUSED),
    Case("a blank at the line's end", get(version=b"HTTP/1.1 "), REFUSED),
    Case("a query and escapes", get(target=TARGET + b"?a=%2e%2e/&b"), ONCE),
    Case("go on first", post(length(5), b"Expect: 100-continue", body=b"hello"), ONCE, b"hello"),
]

TWO_FRAMINGS: list[Case] = [
    Case("length and chunked", both(CHUNKED), REFUSED),
    Case("chunked and length", post(CHUNKED, length(5), body=b"0\r\n\r\n" + HIDDEN), REFUSED),
    *[
        Case(f"length and {coding!r}", both(coding), REFUSED)
        for coding in (
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b" Transfer-Encoding: chunked",
            b"Transfer_Encoding: chunked",
            b"Transfer.Encoding: chunked",
            b"Transfer-Encoding:\x0bchunked",
            b"Transfer-Encoding: chunked\x00",
            b"Transfer-Encoding: \x00chunked",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunkedx",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: gzip, chunked",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: chunked;q=1",
            b"Transfer-Encoding:\r\n chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"X: y\r\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        )
    ],
    Case("a coding nobody undoes", post(b"Transfer-Encoding: gzip", body=b"hello"), REFUSED),
    Case(
        "chunks that only some read, and an upgrade",
        post(*H2C, CHUNKED + b"\t", body=HELLO),
        REFUSED,
    ),
    Case("no chunks, and an upgrade", post(*H2C, b"Transfer-Encoding: x", body=HELLO), REFUSED),
    Case("chunks in HTTP/1.0", chunks(HELLO).replace(b"HTTP/1.1", b"HTTP/1.0"), REFUSED),
    Case(
        "named away",
        post(length(len(HIDDEN)), b"Connection: Content-Length", body=HIDDEN),
        ONCE,
        HIDDEN,
    ),
    Case("coding named away", chunks(HELLO, b"Connection: Transfer-Encoding"), ONCE, b"hello"),
    Case(
        "other names that end alike",
        both(b"X-Transfer-Encoding: chunked", b"hello"),
        ONCE,
        b"hello",
    ),
]

LENGTHS: list[Case] = [
    *[
        Case(f"a length of {value!r}", post(b"Content-Length: " + value, body=b"hello"), REFUSED)
        for value in (
            *(b"+5", b"-5", b"5 ,5", b"5, 6", b"0x5", b"5_0", b"5.0", b"5e0", b"'5'", b"5\x00"),
            *(b"5 5", b"", b" ", b"\xd9\xa5", b"9" * 20, b"5\x0b", b"5;", b"0" * 19 + b"5"),
        )
    ],
    Case("more zeros than int() takes", post(b"Content-Length: " + b"0" * 5000), REFUSED),
    Case("two equal lengths", post(length(5), length(5), body=b"hello"), EITHER, b"hello"),
    Case("a list of equal lengths", post(b"Content-Length: 5, 5", body=b"hello"), EITHER, b"hello"),
    Case("two lengths", post(length(5), length(6), body=b"hello!"), REFUSED),
    Case(
        "a length and its look-alike", post(length(0), b"Content_Length: 60", body=HIDDEN), REFUSED
    ),
    Case("leading zeros", post(b"Content-Length: 005", body=b"hello"), EITHER, b"hello"),
    Case("a blank before the colon", post(b"Content-Length : 5", body=b"hello"), REFUSED),
    Case("a length that is folded", post(b"Content-Length:\r\n 5", body=b"hello"), REFUSED),
    Case("more than is sent", post(length(9), body=b"hello"), WAITS),
    Case("a great length", post(b"Content-Length: 999999999999", body=b"hello"), WAITS),
    Case("an odd expectation", post(length(5), b"Expect: 200-ok", body=b"hello"), REFUSED),
]

CHUNKS: list[Case] = [
    *[
        Case(f"a size of {size!r}", chunks(size + b"\r\nhello\r\n0\r\n\r\n"), REFUSED)
        for size in (
            *(b"", b"-5", b"+5", b"0x5", b"5 5", b"5g", b"g", b"5_0", b" 5", b"5\x00", b"5\x0b"),
            *(b"1" + b"0" * 16, b"5,", b"\xb2"),
        )
    ],
    *[
        Case(f"a size that ends with {end!r}", chunks(b"5" + end + b"hello\r\n0\r\n\r\n"), REFUSED)
        for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b";x\n", b";\n", b";x\ry\r\n")
    ],
    *[
        Case(f"data that ends with {end!r}", chunks(b"5\r\nhello" + end + b"0\r\n\r\n"), REFUSED)
        for end in (b"", b"\n", b"\r", b"XX", b"x\r\n", b"\r\n\r\n")
    ],
    Case("an extension", chunks(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), EITHER, b"hello"),
    Case("an extension with a request", chunks(b"5;" + HIDDEN + b"hello\r\n0\r\n\r\n"), REFUSED),
    Case("leading zeros without end", chunks(b"0" * 9000 + HELLO), REFUSED),
    Case("a few more zeros than a number has", chunks(b"0" * 16 + HELLO), REFUSED),
    Case("leading zeros", chunks(b"00005\r\nhello\r\n000\r\n\r\n"), EITHER, b"hello"),
    Case("no last chunk", chunks(b"5\r\nhello\r\n"), WAITS),
    Case("half a chunk", chunks(b"9\r\nhello"), WAITS),
    Case("a trailer", chunks(b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"), EITHER, b"hello"),
    Case("a trailer with framing", chunks(b"0\r\nContent-Length: 50\r\n\r\n"), EITHER),
    Case("a trailer with a key", chunks(b"0\r\nAuthorization: Bearer {key}\r\n\r\n"), EITHER),
    Case("a trailer with identity", chunks(b"0\r\nX-Gateway-Key-Id: me\r\n\r\n"), EITHER),
    Case("a request as trailer", chunks(b"0\r\n" + HIDDEN), REFUSED),
    Case("a folded trailer", chunks(b"0\r\nX-A: b\r\n c\r\n\r\n"), EITHER),
]

HEADS: list[Case] = [
    *[
        Case(f"the line {line!r}", get(line), REFUSED)
        for line in (
            *(b"X-A", b": x", b" X-A: b", b"\tX-A: b", b"X-A : b", b"X A: b", b"X-A\x00: b"),
            *(b"X-A: b\x00", b"X-A: b\x01", b"X-A: b\x7f", b"X-A: b\r c", b"X-A: b\n c"),
            *(b"X-A: b\r\n c", b"X(A): b", b"X\xc3\xa9: b", b"X-A: b\rX-B: c", b"Host: b"),
            *(b"X_Gateway_Key_Id: me", b"X_User_Id: u1", b"X-Forwarded_For: 1.1.1.1"),
            *(b"Authorization: Bearer {key}", b"X-User-Id: a b", b"X-User-Id: u\r\nX-User-Id: u"),
            *(b"Cookie: k={key}", b"X-API-Key: {key}\r\nX-API-Key: {key}"),
        )
    ],
    Case("lines that end with LF", get().replace(b"\r\n", b"\n"), REFUSED),
    Case("lines that end with CR", get().replace(b"\r\n", b"\r"), REFUSED),
    Case("one line that ends with LF", get(b"X-A: b").replace(b"b\r\n", b"b\n"), REFUSED),
    Case("an end of LF", get()[:-2] + b"\n", REFUSED),
    Case("no host", get().replace(b"Host: a\r\n", b""), REFUSED),
    *[
        Case(f"the host {host!r}", get().replace(b"Host: a", b"Host: " + host), REFUSED)
        for host in (
            *(b"", b"a b", b"a,b", b"a/b", b"u@a", b"a:b", b"a:0", b"a:99999", b"a:80:80", b"[::1"),
            *(b"a\\b", b"a?b", b"a#b", b"%61", b"\xc3\xa9", b"[::1]x", b"[a]"),
        )
    ],
    *[
        Case(f"the line {line!r}", line + b"\r\n" + AUTH + b"\r\n", REFUSED)
        for line in (
            *(b"GET /agents/echo/x", b"GET", b"", b"/agents/echo/x HTTP/1.1"),
            *(b"GET /agents/echo/x HTTP/1.2", b"GET /agents/echo/x HTTP/2.0"),
            *(b"GET /agents/echo/x http/1.1", b"GET /agents/echo/x HTTP/1.10"),
            *(b"GET /agents/echo/x HTTP/0.9", b"GET /agents/echo/x HTTP/1.1 x"),
            *(b"GET\t/agents/echo/x HTTP/1.1", b"GET /agents/echo/x\tHTTP/1.1"),
            *(b" GET /agents/echo/x HTTP/1.1", b"GET /agents/echo/x y HTTP/1.1"),
            *(b"get /agents/echo/x HTTP/1.1", b"TRACE /agents/echo/x HTTP/1.1"),
            *(b"PRI * HTTP/2.0", b"PROPFIND /agents/echo/x HTTP/1.1", b"GE\x00T / HTTP/1.1"),
            *(b"GET\x0b/agents/echo/x HTTP/1.1", b"G:T /agents/echo/x HTTP/1.1"),
        )
    ],
]

TARGETS: list[Case] = [
    Case(f"the target {target!r}", get(target=target), REFUSED)
    for target in (
        *(b"http://a/agents/echo/x", b"a:80", b"*", b"agents/echo/x", b"//agents/echo/x", b"?x"),
        *(b"/agents/echo/../secret", b"/agents/echo/./x", b"/agents/echo/x/..", b"/./agents/echo"),
        *(b"/agents/echo/%2e%2e/secret", b"/agents/echo/.%2E/x", b"/agents/echo/%252e%252e/x"),
        *(b"/agents/echo/%25%32%65./x", b"/agents/echo/..%2fx", b"/agents/echo/a%2Fb"),
        *(b"/agents/echo/a%5cb", b"/agents/echo/a\\..\\b", b"/agents/echo//x", b"/agents//echo/x"),
        *(b"/agents/echo/..;/x", b"/agents/echo/x;a=b", b"/agents/echo/x#f", b"/agents/echo/%00"),
        *(b"/agents/echo/%0d%0aX:y", b"/agents/echo/%c0%ae%c0%ae/x", b"/agents/echo/%ff"),
        *(b"/agents/echo/%ef%bc%8e%ef%bc%8e/x", b"/agents/echo/%u002e", b"/agents/echo/%2"),
        *(b"/agents/echo/\xc3\xa9", b"/agents/echo/x?a\x00", b"/agents/echo/x?k={key}"),
        b"/agents/echo/..%20/x",
    )
]

IDENTITY: list[Case] = [
    Case(f"the caller says {line!r}", get(line), ONCE)
    for line in (
        *(b"X-Gateway-Key-Id: me", b"x-gateway-key-id: a\r\nX-GATEWAY-KEY-ID: b"),
        *(b"Connection: X-Gateway-Key-Id, X-Request-Id, X-Forwarded-For", b"X-Gateway-User: root"),
        *(b"X-Request-Id: mine", b"traceparent: mine", b"Connection: close, Host"),
    )
]

GROUPS = {
    "plain": PLAIN,
    "two framings": TWO_FRAMINGS,
    "lengths": LENGTHS,
    "chunks": CHUNKS,
    "heads": HEADS,
    "targets": TARGETS,
    "identity": IDENTITY,
}

# Where one odd byte is put; {b} is the byte.
PLACES = {
    "before a name": both(b"{b}Transfer-Encoding: chunked"),
    "in a name": both(b"Transfer{b}Encoding: chunked"),
    "after a name": both(b"Transfer-Encoding{b}: chunked"),
    "before a value": both(b"Transfer-Encoding:{b}chunked"),
    "after a value": both(b"Transfer-Encoding: chunked{b}"),
    "at a line's end": both(b"X: y{b}\nTransfer-Encoding: chunked"),
    "after a length": post(b"Content-Length: 5{b}", body=b"hello" + HIDDEN),
    "in a chunk's size": chunks(b"5{b}\r\nhello\r\n0\r\n\r\n"),
    "in a method": get().replace(b"GET", b"GE{b}T"),
    "in a target": get(target=TARGET + b"{b}y"),
}
ODD_BYTES = (*range(0x21), 0x3A, 0x3B, 0x5F, *range(0x7F, 0x82), 0x85, 0xA0, 0xAD, 0xFF)
