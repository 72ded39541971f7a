"""One call of each kind that the gateway carries, and what became of it."""

import json
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import aiohttp

from tests.chaos.calls import LOST, OK
from tests.soak.backend import CREDENTIAL

# Of an answer that broke off, and of one that says something else than it should.
CUT, WRONG = "cut", "wrong answer"
# A handshake that fails has no body to say why.
HANDSHAKE = {401: "key_invalid", 403: "scope_denied", 429: "concurrency_limited"}
JSON = {"Content-Type": "application/json"}

Session = aiohttp.ClientSession


async def json_call(session: Session, base: str, key: str) -> str:
    sent = {"text": "x" * 2000}
    return await _post(session, f"{base}/agents/a/json", key, sent, json.dumps(sent))


async def model(session: Session, base: str, key: str) -> str:
    sent = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    return await _post(session, f"{base}/models/v1/chat/completions", key, sent, '"hello"')


async def tool(session: Session, base: str, key: str) -> str:
    params = {"name": "look", "arguments": {}}
    sent = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return await _post(session, f"{base}/tools/t/mcp", key, sent, f"[redacted:{CREDENTIAL}]")


async def service(session: Session, base: str, key: str) -> str:
    async with session.get(f"{base}/services/s/whoami", headers=_bearer(key)) as answer:
        return _outcome(answer.status, await answer.text(), f"[redacted:{CREDENTIAL}]")


async def pull(session: Session, base: str, key: str) -> str:
    url = f"{base}/v1/credentials?names={CREDENTIAL}"
    async with session.get(url, headers=_bearer(key)) as answer:
        return _outcome(answer.status, await answer.text(), '"version"')


async def stream(session: Session, base: str, key: str) -> str:
    async with session.get(f"{base}/agents/a/events", headers=_bearer(key)) as answer:
        try:
            said = await answer.text()
        except aiohttp.ClientPayloadError:
            return CUT
        outcome = _outcome(answer.status, said, "data: 0")
        return CUT if outcome == OK and "data: done" not in said else outcome


async def websocket(session: Session, base: str, key: str) -> str:
    try:
        async with session.ws_connect(f"{base}/agents/a/socket", headers=_bearer(key)) as socket:
            for number in range(5):
                await socket.send_str(f"{number}")
                said = await socket.receive(timeout=20)
                if said.data != f"{number}":
                    return CUT
            return OK
    except aiohttp.WSServerHandshakeError as refused:
        return HANDSHAKE.get(refused.status, "store_unavailable")


async def stranger(session: Session, base: str, _: str) -> str:
    key = "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKLxxxxxx"
    async with session.get(f"{base}/agents/a/quick", headers=_bearer(key)) as answer:
        return _outcome(answer.status, await answer.text(), "")


async def trespasser(session: Session, base: str, key: str) -> str:
    """With a good key, to where it does not lead."""
    async with session.get(f"{base}/agents/b/quick", headers=_bearer(key)) as answer:
        return _outcome(answer.status, await answer.text(), "")


async def _post(session: Session, url: str, key: str, sent: object, expected: str) -> str:
    headers = {**_bearer(key), "Accept": "application/json, text/event-stream"}
    async with session.post(url, headers=headers, json=sent) as answer:
        return _outcome(answer.status, await answer.text(), expected)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _outcome(status: int, said: str, expected: str) -> str:
    if status == 200:
        return OK if expected in said else WRONG
    error = json.loads(said)["error"]
    # JSON-RPC has a number where the others have their code.
    return str(error["data"]["error"]["code"] if "data" in error else error["code"])


async def one(kind: str, session: Session, base: str, key: str) -> str:
    try:
        return await KINDS[kind](session, base, key)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return LOST


KINDS: MappingProxyType[str, Callable[[Session, str, str], Awaitable[str]]] = MappingProxyType(
    {
        "JSON": json_call,
        "SSE": stream,
        "WebSocket": websocket,
        "model": model,
        "service": service,
        "tool": tool,
        "pull": pull,
        "stranger": stranger,
        "trespasser": trespasser,
    }
)
DENIED = MappingProxyType({"stranger": {"key_invalid"}, "trespasser": {"scope_denied"}})
