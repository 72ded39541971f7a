"""What is put into calls is prepared once, and does not outlive the credential that it is of."""

import gc
import weakref

import pytest
from redis.asyncio import Redis

from gateway.domain.policies.references import parse
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Agent
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.inject import open_injector
from tests.services.vaults import Vault

INJECT = Inject(headers=(("X-Secret", parse("${credentials.aa}")),))
SERVICE = Agent("crm", (), kind="services", inject=INJECT)


@pytest.fixture
def vault(client: Redis) -> Vault:
    return Vault(client)


async def test_a_value_that_was_rotated_away_is_not_kept(vault: Vault) -> None:
    await vault.write("aa", 1)
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    async with open_injector(credentials) as injector:
        injected = await injector.values(SERVICE, INJECT, None)
        patterns, left = injected.secrets.patterns, weakref.ref(injected.secrets)
        assert patterns is not None and patterns.replaced(b"<aa-1>") == b"<[redacted:aa]>"
        assert injector.kept(SERVICE, INJECT, None) is injected
        await vault.write("aa", 2, grace=510)
        await sync.check()
        assert injector.kept(SERVICE, INJECT, None) is None
        found = await injector.values(SERVICE, INJECT, None)
        assert [value for _, value in found.secrets.pairs] == ["aa-2", "aa-1"]
        vault.wall = 510.0
        assert injector.kept(SERVICE, INJECT, None) is None, "its grace has ended"
        found = await injector.values(SERVICE, INJECT, None)
        assert [value for _, value in found.secrets.pairs] == ["aa-2"]
        del injected, patterns
        gc.collect()
        assert left() is None


async def test_what_looks_for_a_value_is_made_once_whatever_else_changes(vault: Vault) -> None:
    """Nor is it made for each call of what may have to be asked for at each use."""
    await vault.write("aa", 1, max_stale=60)
    await vault.write("bb", 1)
    sync = vault.sync()
    await sync.check()
    async with open_injector(LiveCredentials(sync, lambda: vault.wall)) as injector:
        first = (await injector.values(SERVICE, INJECT, None)).secrets
        assert injector.kept(SERVICE, INJECT, None) is None
        await vault.write("bb", 2)
        await sync.check()
        assert (await injector.values(SERVICE, INJECT, None)).secrets is first
