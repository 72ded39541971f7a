"""Which tokens are fetched anew, by a clock that a test sets."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.credentials import CredentialId, Version
from gateway.services.credentials.tokens import BETWEEN_REFUSALS, Tokens
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
