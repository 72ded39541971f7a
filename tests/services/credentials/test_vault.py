"""What operators see of the vault, and what keeps it whole, over all that was ever in it."""

import asyncio
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.credentials import Credential, CredentialId, Version, parse_id
from gateway.domain.errors import OperationError
from gateway.services.credentials.vault import IN_ONE_TURN, SAMPLE, Vault
from gateway.store.vault import VaultStore
from tests.services.vaults import Vault as Records


@pytest.fixture
def records(client: Redis) -> Records:
    return Records(client)


async def nothing(event: str, name: CredentialId, version: int) -> None:
    """No audit."""


def vault(client: Redis, master: bytes) -> Vault:
    return Vault(VaultStore(client, "gw:"), Envelope(MasterKeys((master,))), nothing)


def wanted(name: str) -> Credential:
    return Credential(parse_id(name), "api_key", Version(1, {"value": "v"}))


async def test_the_names_are_those_of_what_is_there(records: Records, client: Redis) -> None:
    for name in ("crm", "user/ann/crm", "erp"):
        await records.write(name)
    await records.delete("crm")
    await records.delete("user/ann/crm")
    await records.write("crm", 2)
    assert [str(one) for one in await vault(client, b"m" * 32).names()] == ["crm", "erp"]


async def test_after_many_deletions_a_wrong_master_key_is_still_refused(
    records: Records, client: Redis
) -> None:
    await records.write("kept")
    for number in range(SAMPLE + 1):
        await records.write(f"c{number}")
    for number in range(SAMPLE + 1):
        await records.delete(f"c{number}")
    with pytest.raises(OperationError, match="master key"):
        await vault(client, b"n" * 32).set(wanted("new"))
    assert await records.store.get(parse_id("new")) is None
    await vault(client, b"m" * 32).set(wanted("new"))


async def test_others_have_their_turn_while_many_are_opened(
    records: Records, client: Redis
) -> None:
    for number in range(300):
        await records.write(f"c{number}")
    opened = 0
    turns: list[int] = []

    class Counting(Envelope):
        def open(self, credential, blob):  # type: ignore[no-untyped-def]
            nonlocal opened
            opened += 1
            return super().open(credential, blob)

    async def count_turns() -> None:
        while True:
            turns.append(opened)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    looked = Vault(VaultStore(client, "gw:"), Counting(MasterKeys((b"m" * 32,))), nothing)
    assert len(await looked.all()) == 300
    await asyncio.sleep(0)
    counting.cancel()
    assert max(later - sooner for sooner, later in pairwise(turns)) <= IN_ONE_TURN
