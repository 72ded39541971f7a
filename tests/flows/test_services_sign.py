"""Requests that are signed with an access key: the cloud's side checks every signature anew."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.domain.credentials import Version
from gateway.proxy.services import LONGEST_HELD
from tests.flows.services import Backend, keep, put, seen, service
from tests.flows.world import World
from tests.services.vaults import Vault

AWS = {
    "scheme": "aws4",
    "credential": "${credentials.cloud}",
    "region": "eu-central-1",
    "service": "execute-api",
}
ACS = {"scheme": "acs3", "credential": "${credentials.cloud}"}
KEYS = {"access_key_id": "AKID-1", "access_key_secret": "the-secret-1", "security_token": "sts-1"}


@pytest.fixture
async def vault(world: World) -> Vault:
    made = Vault(world.client)
    await keep(world, made, "cloud", "ak_sk", **KEYS)
    return made


def named(request: web.Request) -> list[str]:
    proof = request.headers["Authorization"]
    return proof.partition("SignedHeaders=")[2].partition(",")[0].split(";")


def aws_checks(keys: dict[str, str]) -> Any:
    """botocore signs what arrived once more, at the time that it says."""

    async def answer(request: web.Request, body: bytes) -> web.Response:
        sent = request.headers
        again = AWSRequest(request.method, f"http://{request.host}{request.raw_path}", data=body)
        for name in named(request):
            again.headers[name] = sent[name]
        again.context["timestamp"] = sent["X-Amz-Date"]
        signer = SigV4Auth(
            Credentials(keys["access_key_id"], keys["access_key_secret"]),
            "execute-api",
            "eu-central-1",
        )
        text = signer.string_to_sign(again, signer.canonical_request(again))
        right = signer.signature(text, again)
        hashed = sent["X-Amz-Content-SHA256"] == sha256(body).hexdigest()
        fine = sent["Authorization"].endswith(f"Signature={right}") and hashed
        return web.Response(status=200 if fine else 403, text=sent["Authorization"])

    return answer


async def acs_checks(request: web.Request, body: bytes) -> web.Response:
    sent = request.headers
    names = named(request)
    canonical = "\n".join(
        (
            request.method,
            urlsplit(request.raw_path).path,
            "&".join(sorted(urlsplit(request.raw_path).query.split("&"))),
            "".join(f"{name}:{sent[name]}\n" for name in names),
            ";".join(names),
            sha256(body).hexdigest(),
        )
    )
    text = f"ACS3-HMAC-SHA256\n{sha256(canonical.encode()).hexdigest()}"
    right = hmac.digest(KEYS["access_key_secret"].encode(), text.encode(), "sha256").hex()
    return web.Response(status=200 if sent["Authorization"].endswith(right) else 403)


@pytest.mark.parametrize("data", [None, b"small", b"l" * 900_000])
@pytest.mark.parametrize("scheme", ["aws4", "acs3"])
async def test_the_cloud_finds_the_signature_right(
    scheme: str, data: bytes | None, world: World, vault: Vault, there: Backend
) -> None:
    there.answer = aws_checks(KEYS) if scheme == "aws4" else acs_checks
    inject = {"headers": {"X-Acs-Action": "Run", "X-Amz-Meta-A": "1"}, "query": {"fixed": "a/b c"}}
    sign = AWS if scheme == "aws4" else ACS
    put(world, service(there, upstream=f"{there.url}/base", inject=inject, sign=sign))
    key = await world.issue("services/crm")
    theirs = {"X-Amz-Date": "old", "x-acs-date": "old", "X-Amz-Security-Token": "mine"}
    # What only signs is in no echo that could be had in parts.
    theirs["Range"] = "bytes=1-7"
    answer = await world.call(
        key, "/services/crm/things?b=2&a=1", "POST" if data else "GET", headers=theirs, data=data
    )
    assert answer.status == 200, answer.body
    arrived = there.last
    assert arrived.body == (data or b"") and "transfer-encoding" not in arrived.headers
    assert "the-secret-1" not in str(arrived.headers)
    token = "x-amz-security-token" if scheme == "aws4" else "x-acs-security-token"
    assert arrived.headers[token] == ["sts-1"]
    assert token in arrived.headers["authorization"][0]
    assert arrived.headers["range"] == ["bytes=1-7"]
    look_alike = {"X_Amz_Date" if scheme == "aws4" else "X_Acs_Date": "old"}
    assert (await world.call(key, "/services/crm/x", headers=look_alike)).code == "bad_request"


async def test_a_body_that_comes_in_pieces_is_held_until_it_can_be_signed(
    world: World, vault: Vault, there: Backend
) -> None:
    there.answer = aws_checks(KEYS)
    put(world, service(there, sign=AWS))

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"p" * (size // 10)
            await asyncio.sleep(0.01)

    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/x", "PUT", data=pieces(100_000))
    assert answer.status == 200 and there.last.headers["content-length"] == ["100000"]
    there.arrived.clear()
    answer = await world.call(key, "/services/crm/x", "PUT", data=pieces(LONGEST_HELD + 10_000))
    assert (answer.status, answer.code) == (413, "too_large")
    assert there.arrived == []


async def test_after_a_rotation_the_key_before_signs_once_more(
    world: World, vault: Vault, there: Backend
) -> None:
    there.answer = aws_checks(KEYS)
    put(world, service(there, sign=AWS))
    new = Version(2, {"access_key_id": "AKID-2", "access_key_secret": "the-secret-2"})
    old = Version(1, KEYS, until=2**40)
    await vault.write("cloud", 2, type="ak_sk", current=new, previous=old)
    await seen(world, "cloud", 2)
    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/x", "POST", data=b"{}")
    assert answer.status == 200
    ids = [one.headers["authorization"][0].partition("=")[2][:6] for one in there.arrived]
    assert ids == ["AKID-2", "AKID-1"]
    there.answer = aws_checks({"access_key_id": "AKID-3", "access_key_secret": "another"})
    answer = await world.call(key, "/services/crm/x", "POST", data=b"{}")
    assert (answer.status, answer.code) == (502, "upstream_auth_failed")


async def test_a_secret_that_only_signs_does_not_come_back_either(
    world: World, vault: Vault, there: Backend
) -> None:
    async def knows(request: web.Request, body: bytes) -> web.Response:
        return web.Response(text="the-secret-1 sts-1 AKID-1")

    there.answer = knows
    put(world, service(there, sign=AWS))
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert answer.body == b"[redacted:cloud] [redacted:cloud] [redacted:cloud]"


@pytest.mark.parametrize(
    ("type_name", "fields"),
    [
        ("custom", {"access_key_id": "AK\r\nX-Forged: 1", "access_key_secret": "s"}),
        ("custom", {**KEYS, "security_token": "sts\nX-Forged: 1"}),
        ("api_key", {"value": "not-of-a-cloud"}),
    ],
)
@pytest.mark.parametrize("sign", [AWS, ACS])
async def test_what_cannot_sign_is_told_and_sent_to_nobody(
    sign: dict[str, str],
    type_name: str,
    fields: dict[str, str],
    world: World,
    vault: Vault,
    there: Backend,
) -> None:
    """Users bring their own, of whatever type and with whatever in it."""
    await keep(world, vault, "user/alice/cloud", type_name, **fields)
    put(world, service(there, sign={**sign, "credential": "${user.cloud}"}))
    key = await world.issue("services/crm", users=("alice",))
    answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": "alice"})
    assert (answer.status, answer.code) == (503, "credential_unavailable")
    assert there.arrived == []
