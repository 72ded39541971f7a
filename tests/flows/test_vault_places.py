"""The vault under the shipped users of Redis, and on a cluster: all that is done with credentials
works there, and nothing is refused to whom it is for."""

import asyncio
from pathlib import Path

from gateway.client import Credentials
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.settings import StoreSettings, VaultSettings
from gateway.store.connections.connect import open_store
from gateway.store.vault import VaultStore
from tests.cli.commands import VaultCommands
from tests.flows.clusters import cluster_store
from tests.flows.guarded import Guarded, guarded
from tests.flows.world import MASTER, new_world
from tests.until import until

__all__ = ["guarded"]

# A worker that would poll in an hour hears of changes all the same.
BY_NEWS = VaultSettings(None, (MASTER,), 3600.0)


async def whole_life(store: StoreSettings, folder: Path) -> str:
    """Of two credentials, from `set` to `delete`, while an agent pulls them."""
    commands = VaultCommands(store, folder)
    said = []

    async def run(*words: str, value: str = "") -> None:
        ended = await asyncio.to_thread(commands, *words, value=value)
        assert ended.code == 0, ended.said
        said.append(ended.out)

    await run("set", "crm", "--type", "api_key", value="one")
    await run("set", "db", "--type", "custom", value="x")
    async with (
        open_store(store) as client,
        new_world(store, client, vault=BY_NEWS) as world,
    ):
        key = (await world.issue("gateway/credentials")).text
        async with Credentials(world.url, key, ["crm", "db"], poll=0.5) as credentials:
            assert credentials["crm"].reveal() == "one"
            await run("rotate", "crm", "--grace", "1h", value="two")
            await until(lambda: credentials["crm"].reveal() == "two")
            await run("rewrap")
            await run("list", "--json")
            await run("delete", "db", "--yes")
            await until(lambda: CredentialId("db") not in world.gateways[0].base.credentials.known)
    return "".join(said)


async def test_on_a_cluster_as_on_one_redis(tmp_path: Path) -> None:
    async with cluster_store() as store:
        said = await whole_life(store.root, tmp_path)
        assert '"version": 2' in said
        commands = VaultCommands(store.root, tmp_path)
        verified = await asyncio.to_thread(commands.gateway, "audit", "verify", "--json")
        assert verified.json["ok"] and verified.json["records"] > 8
        async with open_store(store.root) as client:
            vault = VaultStore(client, "gw:")
            one = Credential(CredentialId("crm"), "api_key", Version(9, {"value": "v"}))
            sealed = Envelope(MasterKeys((MASTER,))).seal(one)
            assert not await vault.put(one.id, sealed, b"something else")


async def test_under_the_rights_of_the_shipped_file(guarded: Guarded, tmp_path: Path) -> None:
    """The key is made by an operator, who may not touch credentials; the rest by whom it is for."""
    vault, gateway = guarded.settings("vault"), guarded.settings("gateway")
    key = (await asyncio.to_thread(guarded.commands("operator").create)).id
    async with guarded.client("operator") as client:
        await client.hset(f"gw:key:{{{key}}}", "scopes", "gateway/credentials")
    commands = VaultCommands(vault, tmp_path)
    for words, value in (
        (("set", "crm", "--type", "api_key"), "one"),
        (("rotate", "crm", "--grace", "1h"), "two"),
        (("rewrap",), ""),
        (("list", "--json"), ""),
        (("show", "crm"), ""),
        (("set", "db", "--type", "custom"), "x"),
        (("delete", "db", "--yes"), ""),
    ):
        ended = await asyncio.to_thread(commands, *words, value=value)
        assert ended.code == 0, ended.said
    async with (
        open_store(gateway) as client,
        new_world(gateway, client, vault=BY_NEWS) as world,
    ):
        credentials = world.gateways[0].base.credentials
        await until(lambda: credentials.ready)
        known = credentials.known
        assert [str(name) for name in known] == ["crm"]
        assert known[CredentialId("crm")].current.number == 2
        assert (await asyncio.to_thread(commands, "rotate", "crm", value="three")).code == 0
        await until(lambda: credentials.known[CredentialId("crm")].current.number == 3)
    assert await guarded.refusals() == []
    viewer = VaultCommands(guarded.settings("viewer"), tmp_path)
    # The operator has no master key, and signs nothing.
    words = ("audit", "verify", "--allow-unsigned", "--json")
    verified = await asyncio.to_thread(viewer.gateway, *words)
    assert verified.json["ok"] and verified.json["unsigned"], verified
    assert verified.json["records"] >= 8
    refused = await asyncio.to_thread(viewer, "set", "aa", "--type", "api_key", value="v")
    assert refused.code == 1 and refused.said.count("\n") == 1
