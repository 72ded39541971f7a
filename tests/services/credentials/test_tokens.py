"""Which tokens are fetched anew, by a clock that a test sets."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.credentials import CredentialId, Version
from gateway.domain.errors import Code, Denied
from gateway.services.credentials.tokens import BETWEEN_REFUSALS, LONGEST_ANSWER, Tokens
from tests.flows.services import Backend, backend
from tests.services.vaults import Vault

NAME = CredentialId("idp")


@pytest.fixture
async def provider() -> AsyncIterator[Backend]:
    async with backend() as made:

        async def answer(request: web.Request, body: bytes) -> web.Response:
            token = f"token-{len(made.arrived)}"
            return web.json_response({"access_token": token, "expires_in": 3600})

        made.answer = answer
        yield made


@asynccontextmanager
async def opened(client: Redis, clock: Callable[[], float]) -> AsyncIterator[Tokens]:
    async with aiohttp.ClientSession() as session:
        tokens = Tokens(session, Vault(client).audit(), clock)
        yield tokens
        await tokens.close()


def secret_for(provider: Backend, number: int = 1, **fields: str) -> Version:
    return Version(
        number,
        {
            "token_url": f"{provider.url}/token",
            "client_id": "the client",
            "client_secret": "a:b+c mark",
            **fields,
        },
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_secret_is_for_the_host_that_its_credential_names_and_for_no_other(
    provider: Backend, client: Redis, status: int
) -> None:
    async with backend() as elsewhere, opened(client, lambda: 0.0) as tokens:

        async def redirect(request: web.Request, body: bytes) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{elsewhere.url}/token"})

        provider.answer = redirect
        with pytest.raises(Denied) as denied:
            await tokens.get(NAME, secret_for(provider))
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE
        assert elsewhere.arrived == []


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "t", "token_type": "mac"},
        {"access_token": "t", "token_type": None},
        {"access_token": "t", "expires_in": "nan"},
        {"access_token": ""},
        {"access_token": 7},
        {"token": "t"},
        ["t"],
        {"access_token": "t", "more": "x" * LONGEST_ANSWER},
    ],
)
async def test_what_is_no_bearer_token_is_sent_to_nobody(
    provider: Backend, client: Redis, answer: object
) -> None:
    async def odd(request: web.Request, body: bytes) -> web.Response:
        return web.json_response(answer)

    provider.answer = odd
    async with opened(client, lambda: 0.0) as tokens:
        with pytest.raises(Denied):
            await tokens.get(NAME, secret_for(provider))


async def test_a_failure_says_nothing_of_what_was_answered(
    provider: Backend, client: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(request: web.Request, body: bytes) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/mark 200 OK\r\n\r\n")
        request.transport.close()
        return web.Response()

    provider.answer = broken
    async with opened(client, lambda: 0.0) as tokens:
        with pytest.raises(Denied):
            await tokens.get(NAME, secret_for(provider))
    said = "".join(capsys.readouterr())
    assert "token_unavailable" in said and "mark" not in said


async def test_a_client_proves_itself_as_the_standard_spells_it(
    provider: Backend, client: Redis
) -> None:
    """RFC 6749 section 2.3.1: name and secret are encoded before they are put together."""
    async with opened(client, lambda: 0.0) as tokens:
        await tokens.get(NAME, secret_for(provider))
    kind, _, proof = provider.last.headers["authorization"][0].partition(" ")
    assert (kind, b64decode(proof)) == ("Basic", b"the+client:a%3Ab%2Bc+mark")
    assert b"mark" not in provider.last.body


async def test_a_token_is_of_the_values_that_it_was_fetched_with(
    provider: Backend, client: Redis
) -> None:
    """A credential that was deleted and made anew counts its versions anew."""
    async with opened(client, lambda: 0.0) as tokens:
        first, again = secret_for(provider), secret_for(provider, client_id="another")
        assert await tokens.get(NAME, first) == (first, "token-1")
        assert await tokens.get(NAME, again) == (again, "token-2")
        other = CredentialId("idp", "ann")
        assert await tokens.get(other, again) == (again, "token-3")
        tokens.forget(other, "token-2")
        assert await tokens.get(NAME, again) == (again, "token-2")


async def test_a_token_outlives_a_rotation_of_its_credential_and_a_provider_that_is_away(
    provider: Backend, client: Redis
) -> None:
    """The record is read anew after each write, also for a new master key."""
    async with opened(client, lambda: 0.0) as tokens:
        await tokens.get(NAME, secret_for(provider))
        provider.answer = None
        rotated, previous = secret_for(provider, 2), replace(secret_for(provider), until=60)
        assert await tokens.get(NAME, rotated, previous) == (previous, "token-1")
        assert await tokens.get(NAME, secret_for(provider)) == (secret_for(provider), "token-1")


async def test_whoever_asked_first_may_leave_and_the_others_have_the_token(
    provider: Backend, client: Redis
) -> None:
    answer, asked, go_on = provider.answer, asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request, body: bytes) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        assert answer is not None
        return await answer(request, body)

    provider.answer = slow
    async with opened(client, lambda: 0.0) as tokens:
        version = secret_for(provider)
        first = asyncio.create_task(tokens.get(NAME, version))
        await asked.wait()
        other = asyncio.create_task(tokens.get(NAME, version))
        mended = secret_for(provider, client_id="another")
        later = asyncio.create_task(tokens.get(NAME, mended))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        go_on.set()
        assert (await other)[0] is version
        assert (await later)[0] is mended, "what was asked for with other values is no answer"
    assert len(provider.arrived) == 2


async def test_what_is_fetched_with_newer_values_is_kept_alone(
    provider: Backend, client: Redis
) -> None:
    async with opened(client, lambda: 0.0) as tokens:
        for number in range(1, 6):
            await tokens.get(NAME, secret_for(provider, number))
        assert len(tokens._tokens) == 1


@pytest.mark.parametrize("status", [400, 401])
async def test_a_provider_that_takes_no_proof_in_the_head_is_shown_it_in_the_body(
    provider: Backend, client: Redis, status: int
) -> None:
    answer = provider.answer

    async def picky(request: web.Request, body: bytes) -> web.StreamResponse:
        assert answer is not None
        fine = b"client_secret=a%3Ab%2Bc+mark" in body and "Authorization" not in request.headers
        return await answer(request, body) if fine else web.Response(status=status)

    provider.answer = picky
    async with opened(client, lambda: 0.0) as tokens:
        assert (await tokens.get(NAME, secret_for(provider)))[1] == "token-2"


async def test_a_failure_is_of_the_values_that_failed(provider: Backend, client: Redis) -> None:
    """Whoever mends a secret need not wait until the old one would be tried again."""
    answer = provider.answer

    async def refuse(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=500)

    provider.answer = refuse
    async with opened(client, lambda: 0.0) as tokens:
        first, mended = secret_for(provider), secret_for(provider, client_id="another")
        for _ in range(2):
            with pytest.raises(Denied):
                await tokens.get(NAME, first)
        assert len(provider.arrived) == 1
        provider.answer = answer
        assert (await tokens.get(NAME, mended))[0] is mended


async def test_a_token_that_is_refused_is_fetched_anew_but_not_call_after_call(
    provider: Backend, client: Redis
) -> None:
    """Whatever callers ask for that is forbidden."""
    now = 0.0
    fields = {"token_url": f"{provider.url}/token", "client_id": "a", "client_secret": "b"}
    version = Version(1, fields)
    async with aiohttp.ClientSession() as session:
        tokens = Tokens(session, Vault(client).audit(), lambda: now)
        for _ in range(100):
            _, text = await tokens.get(NAME, version)
            tokens.forget(NAME, text)
            now += BETWEEN_REFUSALS / 20
        assert len(provider.arrived) == 6
        now += BETWEEN_REFUSALS
        _, text = await tokens.get(NAME, version)
        assert tokens.forget(NAME, text)
        assert tokens.forget(NAME, text), "somebody else has had it fetched anew"
        _, later = await tokens.get(NAME, version)
        assert later != text and not tokens.forget(NAME, later)
        await tokens.close()
