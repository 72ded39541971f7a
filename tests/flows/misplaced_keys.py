"""A key in every place of a request that a caller can write to."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

HEADERS = (
    *("Authorization", "X-API-Key", "api-key", "x-goog-api-key", "Proxy-Authorization", "Cookie"),
    *("X_API_Key", "Authorization.", "Cookie2", "Referer", "User-Agent", "X-Forwarded-For"),
    *("X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Request-Id", "request-id", "traceparent"),
    *("tracestate", "X-User-Id", "X-Gateway-Key-Id", "Origin", "Content-Type", "Range", "Accept"),
    *("Content-Encoding", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Expect"),
    *("If-None-Match", "Upgrade", "Connection", "Keep-Alive", "Host", "HTTP2-Settings"),
    *("Sec-WebSocket-Protocol", "Sec-WebSocket-Key", "Access-Control-Request-Method"),
)

Request = tuple[str, bytes]


def requests(real: str, key: str) -> Iterator[Request]:
    """Where a key may end up by mistake or by malice: what it is, and the bytes. `real` opens."""
    start = "POST /agents/a/x HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
    good = f"{start}Authorization: Bearer {real}\r\n"
    chunked = f"{good}Transfer-Encoding: chunked\r\n\r\n"
    for name in HEADERS:
        rest = start.replace("Host: gateway\r\n", "") if name == "Host" else start
        for value in (key, f"Bearer {key}", f"k={key}", f"agk, agk.{key}"):
            yield name, f"{rest}{name}: {value}\r\n\r\n".encode()
            yield f"{name} beside a good key", f"{good}{name}: {value}\r\n\r\n".encode()
    for place, line in {
        "name": f"{key}: x",
        "name and value": f"{key}: {key}",
        "no colon": f"Authorization Bearer {key}",
        "control byte": f"Authorization: Bearer {key}\x01",
        "NUL": f"Authorization: Bearer \0{key}",
        "fold": f"X-A: b\r\n Bearer {key}",
        "bare CR": f"X-A: b\rAuthorization: Bearer {key}",
        "bare LF": f"X-A: b\nAuthorization: Bearer {key}",
        "blank before the colon": f"Authorization : Bearer {key}",
        "twice": f"Authorization: Bearer {key}\r\nAuthorization: Bearer {key}",
        "too long": f"X-A: {key * 200}",
        "too many": f"X-A: {key}\r\n" * 150,
    }.items():
        yield f"header: {place}", f"{start}{line}\r\n\r\n".encode("latin-1")
    escaped = "".join(f"%{ord(c):02X}" for c in key)
    for target in (
        f"/{key}",
        f"/agents/a/{key}",
        f"/agents/a/{escaped}",
        f"/agents/{key}/x",
        f"/agents/a/x?key={key}",
        f"/agents/a/x?key={escaped}",
        f"/agents/a/x?{quote(key)}=1&b={key}",
        f"/agents/a/x#{key}",
        f"/agents/a/../{key}",
        f"/agents/a/%00{key}",
        f"/agents/a/{key * 300}",
        f"http://{key}@gateway/agents/a/x",
        f"http://{key}/agents/a/x",
        f"{key}:443",
        "*",
    ):
        line = f"GET {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        yield f"target {target[:30]}", f"{line}\r\n".encode()
        yield f"target {target[:30]}", f"{line}Authorization: Bearer {real}\r\n\r\n".encode()
    yield "method", f"{key} /agents/a/x HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    yield "version", f"GET / HTTP/{key}\r\nHost: gateway\r\n\r\n".encode()
    yield "CONNECT", f"CONNECT {key}:1 HTTP/1.1\r\nHost: {key}\r\n\r\n".encode()
    yield "no HTTP", f"{key}\r\n\r\n".encode()
    yield "TLS", b"\x16\x03\x01\x02\x00" + key.encode()
    yield "body", f"{good}Content-Length: {len(key)}\r\n\r\n{key}".encode()
    model = f'{{"model": "{key}", "messages": []}}'
    wanted = good.replace("/agents/a/x", "/models/v1/chat/completions")
    yield "model", f"{wanted}Content-Length: {len(model)}\r\n\r\n{model}".encode()
    yield "body, not read", f"{start}Content-Length: {len(key)}\r\n\r\n{key}".encode()
    yield "chunk", f"{chunked}{len(key):x}\r\n{key}\r\n0\r\n\r\n".encode()
    yield "chunk size", f"{chunked}{key}\r\n".encode()
    yield "chunk extension", f"{chunked}1;{key}={key}\r\nx\r\n0\r\n\r\n".encode()
    yield "trailer", f"{chunked}0\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    yield "trailer name", f"{chunked}0\r\n{key}\r\n\r\n".encode()
    handshake = "GET /agents/a/x HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n"
    handshake += "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    handshake += f"Sec-WebSocket-Key: {base64.b64encode(b'x' * 16).decode()}\r\n"
    for one in (real, key):
        item = f"Sec-WebSocket-Protocol: agk, agk.{one}\r\n\r\n"
        yield "subprotocol", f"{handshake}{item}".encode()
    yield from _of_tools(good, key)
    yield from _of_operators(good, key)


def _posted(good: str, path: str, body: str) -> bytes:
    head = good.replace("/agents/a/x", path).replace("Host: gateway", "Host: localhost")
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _of_tools(good: str, key: str) -> Iterator[Request]:
    for headers in ("MCP-Protocol-Version", "Mcp-Session-Id", "Last-Event-ID", "Mcp-Method"):
        body = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
        yield headers, _posted(f"{good}{headers}: {key}\r\n", "/tools/t/mcp", body)
    for params in ({"name": key}, {"name": "x", key: key}):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        yield "tool", _posted(good, "/tools/t/mcp", body)


def _of_operators(good: str, key: str) -> Iterator[Request]:
    """In place of an id, which is a part of it."""
    for path in ("", "/usage", "/reach"):
        head = good.replace("POST /agents/a/x", f"GET /admin/v1/keys/{key}{path}")
        yield f"an id {path}", f"{head.replace('Host: gateway', 'Host: localhost')}\r\n".encode()
    for act in ("revoke", "disable", "rotate", "contain"):
        yield f"an id to {act}", _posted(good, f"/admin/v1/keys/{key}/{act}", "{}")
    for name in ("consumer", "plan", "expires", key):
        body = json.dumps({"consumer": "x", "scopes": ["agents/a"], name: key})
        yield f"a key's {name}", _posted(good, "/admin/v1/keys", body)
    yield "a page of the console", f"GET /console/keys/{key} HTTP/1.0\r\n\r\n".encode()
