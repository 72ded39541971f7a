"""Whoever can write to Redis: every field of every record changed one by one, moved, rolled back.
That credential is refused by its name; all others still work."""

import copy
import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.client.sync import UnavailableError
from gateway.domain.credentials import Credential, CredentialId, Version
from tests.crypto.tampering import leaves
from tests.services.vaults import Vault

NAMES = ("keyed", "paired", "user/u1/keyed", "plain")
ITEM = "gw:cred:{vault}:item:"


@pytest.fixture
async def vault(client: Redis) -> Vault:
    made = Vault(client)
    await made.write("keyed", 2, grace=2_000_000_000, expires_at=1_900_000_000, max_stale=60)
    await made.write("user/u1/keyed", 2, grace=2_000_000_000)
    await made.write("plain", 1)
    fields = {"username": "u", "password": "p", "x": "y"}
    one = Credential(CredentialId("paired"), "custom", Version(5, fields), rotated_at=1)
    assert await made.store.put(one.id, made.envelope.seal(one), None)
    return made


def edits(record: Any) -> Iterator[tuple[str, Any]]:
    """What was changed, and the record with that one change."""
    for path in leaves(record):
        for how in ("gone", "other", "emptied"):
            made = copy.deepcopy(record)
            inside = made
            for step in path[:-1]:
                inside = inside[step]
            value = inside[path[-1]]
            if how == "gone":
                del inside[path[-1]]
            elif how == "emptied":
                inside[path[-1]] = type(value)() if value else 1
            elif isinstance(value, str):
                inside[path[-1]] = ("B" if value[:1] == "A" else "A") + value[1:]
            elif isinstance(value, int):
                inside[path[-1]] = value + 1
            elif isinstance(value, list):
                inside[path[-1]] = [*value, value[0]]
            elif isinstance(value, dict):
                inside[path[-1]] = {**value, "more": "x"}
            else:
                inside[path[-1]] = 7
            yield f"{path} {how}", made


async def check(vault: Vault, bad: str, what: str) -> None:
    sync = vault.sync()
    assert await sync.check(), what
    for name in NAMES:
        owner, _, rest = name.removeprefix("user/").rpartition("/")
        found = CredentialId(rest, owner)
        if name == bad:
            with pytest.raises(UnavailableError, match=f"'{bad}'"):
                sync.get(found)
            assert f"'{bad}'" in sync.broken[found], what
        else:
            assert sync.get(found).current.fields, what


@pytest.mark.parametrize("name", NAMES)
async def test_every_field_changed_one_by_one(name: str, vault: Vault) -> None:
    written = await vault.client.get(ITEM + name)
    tried = 0
    for what, edited in edits(json.loads(written)):
        await vault.client.set(ITEM + name, json.dumps(edited))
        await check(vault, name, what)
        tried += 1
    assert tried >= 45
    await vault.client.set(ITEM + name, written)
    await check(vault, "", "as it was")


async def test_records_in_each_others_places(vault: Vault) -> None:
    written = {name: await vault.client.get(ITEM + name) for name in NAMES}
    for mine, theirs in permutations(NAMES, 2):
        await vault.client.set(ITEM + mine, written[theirs])
        await check(vault, mine, f"{theirs} in place of {mine}")
        await vault.client.set(ITEM + mine, written[mine])


async def test_an_old_ciphertext_in_a_new_record(vault: Vault) -> None:
    old = json.loads(await vault.client.get(ITEM + "keyed"))
    await vault.write("keyed", 3, grace=2_000_000_000)
    new = json.loads(await vault.client.get(ITEM + "keyed"))
    for at, part in ((0, 0), (0, 1), (1, 0), (1, 1)):
        edited = copy.deepcopy(new)
        edited["versions"][at] = old["versions"][part]
        await vault.client.set(ITEM + "keyed", json.dumps(edited))
        await check(vault, "keyed", f"{at} {part}")
        edited = copy.deepcopy(new)
        edited["versions"][at]["fields"] = old["versions"][part]["fields"]
        await vault.client.set(ITEM + "keyed", json.dumps(edited))
        await check(vault, "keyed", f"fields {at} {part}")


async def test_what_is_no_record_at_all(vault: Vault) -> None:
    for junk in ("", "null", "x" * 1000, "[]", "[" * 100_000, '{"format": 2}', "\xff\x00"):
        await vault.client.set(ITEM + "plain", junk)
        await check(vault, "plain", junk[:20])
    await vault.client.delete(ITEM + "plain")
    await vault.client.hset(ITEM + "plain", "a", "hash in its place")
    await check(vault, "plain", "a hash")
