"""What is put into calls to services and models shows nowhere: an echo of every spelling, a
provider of tokens that does, failures of every kind, and afterwards all that was said is searched
for the marks."""

import asyncio
import base64
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from aiohttp import web

from tests.cli.commands import MASTER, Commands, VaultCommands
from tests.flows.own_store import OwnStore, own_store
from tests.flows.services import Backend, backend
from tests.flows.surfaces import (
    answer,
    left_behind,
    mark,
    monitored,
    served,
    shown_nowhere,
    watched_processes,
)

POLICY = """
version: 1
services:
  all:
    upstream: {url}/all
    inject:
      headers: {{Authorization: "Bearer ${{credentials.shared}}", X-Own: "${{user.own.value}}"}}
      query: {{k: "${{credentials.shared}}"}}
      body: {{secret: "${{credentials.shared}}"}}
  aws:
    upstream: {url}/aws
    sign: {{scheme: aws4, credential: "${{credentials.cloud}}", region: eu, service: s3}}
  acs:
    upstream: {url}/acs
    sign: {{scheme: acs3, credential: "${{credentials.cloud}}"}}
  idp:
    upstream: {url}/idp
    inject: {{headers: {{Authorization: "Bearer ${{credentials.idp}}"}}}}
  nobody:
    upstream: http://127.0.0.1:9
    inject: {{headers: {{X-Token: "${{credentials.shared}}"}}}}
models:
  - {{name: m, provider: compatible, upstream: "{url}/model",
      credential: "${{credentials.model_key}}", fallback: [n]}}
  - {{name: n, provider: compatible, upstream: "{url}/model",
      credential: "${{credentials.model_key}}"}}
"""


# Which of the marks each of them learns.
KNOWN = {
    "all": ("shared", "new", "own"),
    "aws": ("id", "signer"),
    "acs": ("id", "signer"),
    "idp": ("token",),
    "model": ("model",),
    "token": ("token", "client"),
}


RESTS = (
    *("x", "x?status=401", "x?status=403", "x?status=500", "broken"),
    *("drip", "drip?cut=1", "drip?status=404"),
)


def told(marks: dict[str, str]) -> str:
    """Every mark in every spelling, as a program that explains itself too well would say it."""
    said = []
    for secret in marks.values():
        raw = secret.encode()
        said += [secret, quote(secret, safe=""), quote(secret), quote_plus(secret)]
        said += [raw.hex(), raw.hex().upper(), json.dumps(secret), html.escape(secret)]
        said += [base64.b64encode(b"x" * n + raw + b"yy").decode() for n in range(3)]
        said += [base64.urlsafe_b64encode(b"x" * n + raw).decode() for n in range(3)]
    return " | ".join(said)


class Echo:
    """Says `told` of all marks, with the status and in the way that the path asks for."""

    def __init__(self, marks: dict[str, str]) -> None:
        self.marks = marks
        self.rotated = False

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        service, _, path = request.path.strip("/").partition("/")
        path = request.query.get("how", path)
        self.rotated |= self.marks["new"] in str(request.headers)
        known = [name for name in KNOWN[service] if name != "new" or self.rotated]
        text = told({name: self.marks[name] for name in known})
        if service == "token":
            return web.json_response({"access_token": self.marks["token"], "said": text})
        if path == "broken":
            assert request.transport is not None
            request.transport.write(f"HTTP/1.1 200 {text}\r\n{text}\0\r\n\r\n".encode())
            request.transport.close()
        headers = {"X-Echo": text, "Set-Cookie": f"a={self.marks[KNOWN[service][0]]}"}
        status = int(request.query.get("status", "200"))
        if path == "drip":
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            for at in range(0, len(text), 17):
                await response.write(text[at : at + 17].encode())
            if "cut" in request.query:
                assert request.transport is not None
                request.transport.abort()
            return response
        return web.Response(status=status, headers=headers, text=text)


def request(key: str, path: str, body: str = "") -> bytes:
    method = "POST" if body else "GET"
    lines = (
        f"{method} {path} HTTP/1.1",
        *("Host: a", f"X-API-Key: {key}", "X-User-Id: alice", "Connection: close"),
        *("Content-Type: application/json", f"Content-Length: {len(body)}"),
    )
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


def paths() -> list[tuple[str, str]]:
    """(path, body) of every call."""
    found = [("/services/all/x", ""), ("/services/all/x", '{"a": 1}'), ("/services/all/x", "{")]
    for service in ("all", "aws", "acs", "idp"):
        found += [(f"/services/{service}/{rest}", "") for rest in RESTS]
    model = "/models/v1/chat/completions?how="
    found += [(model + rest.replace("?", "&"), '{"model": "m"}') for rest in RESTS]
    return [*found, ("/services/nobody/x", ""), ("/services/all/x%2e%2e/", "")]


async def keep(run: VaultCommands, marks: dict[str, str], provider: Backend) -> None:
    fields = {
        "cloud": {"access_key_id": marks["id"], "access_key_secret": marks["signer"]},
        "idp": {
            "token_url": f"{provider.url}/token",
            "client_id": "the-client",
            "client_secret": marks["client"],
        },
    }
    await asyncio.to_thread(run.set, "shared", marks["shared"])
    await asyncio.to_thread(run.set, "user/alice/own", marks["own"])
    await asyncio.to_thread(run.set, "model_key", marks["model"])
    await asyncio.to_thread(run.set, "cloud", json.dumps(fields["cloud"]), kind="ak_sk")
    await asyncio.to_thread(run.set, "idp", json.dumps(fields["idp"]), kind="oauth2")


async def called(
    folder: Path, store: OwnStore, key: str, marks: dict[str, str]
) -> AsyncIterator[bytes]:
    """What all calls are answered, and what the gateway says of them."""
    run = VaultCommands(store.settings, folder, anew=True)
    more = {"GATEWAY_MASTER_KEY": MASTER, "GATEWAY_CREDENTIAL_POLL": "200ms"}
    async with served(folder, store, **more) as (host, port, admin):
        for path, body in paths():
            yield await answer(host, port, request(key, path, body))
        await asyncio.to_thread(run, "rotate", "shared", "--grace", "1h", value=marks["new"])
        await asyncio.sleep(0.6)
        for path, body in paths():
            yield await answer(host, port, request(key, path, body))
        await store.client.rename("gw:audit", "gw:kept")
        await store.client.set("gw:audit", "in the way")
        yield await answer(host, port, request(key, "/services/all/x"))
        await store.client.delete("gw:audit")
        yield await answer(host, admin, b"GET /metrics HTTP/1.0\r\n\r\n")


async def test_what_is_put_into_calls_is_in_no_answer_no_log_no_record_and_not_in_redis(
    tmp_path: Path,
) -> None:
    names = ("shared", "new", "own", "id", "signer", "client", "token", "model")
    marks = {name: mark().replace("%", "-") if name == "id" else mark() for name in names}
    (tmp_path / "policies").mkdir()
    said, seen_by_redis, processes = bytearray(), bytearray(), bytearray()
    async with own_store() as store, backend() as there, backend() as provider:
        there.answer = provider.answer = Echo(marks)
        (tmp_path / "policies" / "a.yaml").write_text(POLICY.format(url=there.url))
        async with monitored(store, seen_by_redis), watched_processes(processes):
            await keep(VaultCommands(store.settings, tmp_path, anew=True), marks, provider)
            keys = Commands(store.settings, tmp_path, anew=True)
            words = (
                "--consumer",
                "c",
                "--scope",
                "services/*",
                "--scope",
                "models/*",
                "--users",
                "alice",
                "--quiet",
            )
            key = (await asyncio.to_thread(keys, "create", *words)).out.strip()
            async for got in called(tmp_path, store, key, marks):
                said += got
        places = {
            "an answer": bytes(said),
            "what Redis is told": bytes(seen_by_redis),
            "the process list": bytes(processes),
            **await left_behind(tmp_path, store),
        }
        arrived = str([one.headers | {"path": [one.path]} for one in there.arrived])
    for name in ("shared", "new", "own", "token", "id", "model"):
        assert marks[name] in arrived or quote(marks[name], safe="") in arrived, "it was used"
    for code in ("upstream_auth_failed", "audit_unavailable", "upstream_protocol", "bad_request"):
        assert code.encode() in said, code
    for name in ("shared", "own", "cloud", "idp", "model_key"):
        assert f"[redacted:{name}]".encode() in said, "an echo was passed on"
    assert b"credential.use" in places["what Redis is told"]
    assert b"gateway\0credentials\0" in processes
    shown_nowhere(marks.values(), places)
