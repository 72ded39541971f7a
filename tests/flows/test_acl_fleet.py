"""The users of `deploy/redis/users.acl` around the vault, and in a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import open_store
from tests.cli.commands import VaultCommands
from tests.cli.serving import PATIENCE, Served, serving
from tests.flows.clusters import ClusterStore, cluster_store, run
from tests.flows.guarded import DEPLOY, Guarded, guarded
from tests.flows.world import new_world

__all__ = ["guarded"]
PULL = "/v1/credentials?names=crm"


async def test_credentials_are_set_by_one_user_and_only_read_by_the_gateway(
    guarded: Guarded,
) -> None:
    vault = VaultCommands(guarded.settings("vault"), guarded.folder)
    settings = VaultCommands(guarded.settings("gateway"), guarded.folder).environment()
    (guarded.folder / "policies").mkdir()
    (guarded.folder / "policies" / "a.yaml").write_text("version: 1\n")
    create = guarded.commands("operator").create
    key = await asyncio.to_thread(create, "--scope", "gateway/credentials:crm")
    await asyncio.to_thread(vault.set, "crm", "one")
    more = {"GATEWAY_CREDENTIAL_POLL": "1s"}
    async with serving(folder=guarded.folder, settings={**settings, **more}) as gateway:
        assert await pulled(gateway, key.text) == "one"
        ended = await asyncio.to_thread(vault, "rotate", "crm", value="two")
        assert ended.code == 0, ended.said
        async with asyncio.timeout(PATIENCE):
            while await pulled(gateway, key.text) != "two":
                await asyncio.sleep(0.1)
        for words in (("list",), ("show", "crm"), ("rewrap",), ("delete", "crm", "--yes")):
            ended = await asyncio.to_thread(vault, *words)
            assert ended.code == 0, ended.said
    assert await guarded.store.client.xlen("gw:audit") >= 3
    assert await guarded.refusals() == []


async def test_doctor_says_where_a_login_may_not_look_at_the_vault(guarded: Guarded) -> None:
    operator = VaultCommands(guarded.settings("operator"), guarded.folder)
    vault = VaultCommands(guarded.settings("vault"), guarded.folder)
    await asyncio.to_thread(vault.set, "crm", "one")
    alone = await asyncio.to_thread(operator.gateway, "doctor")
    assert "warn   vault     The vault was not checked" in alone.out
    assert "give GATEWAY_VAULT_REDIS_URL" in alone.out
    both = {"GATEWAY_VAULT_REDIS_URL": vault.store.url or ""}
    ended = await asyncio.to_thread(operator.gateway, "doctor", **both)
    assert "ok     vault     1 credential in the vault." in ended.out


async def test_doctor_calls_no_record_empty_at_which_its_login_may_not_look(
    guarded: Guarded,
) -> None:
    await asyncio.to_thread(guarded.commands("operator").create, "--scope", "agents/a")
    ended = await guarded.run("gateway", "doctor")
    assert "warn   keys      The records of keys were not looked at" in ended.out
    assert "without a hash" not in ended.out


async def test_two_logins_look_after_users(guarded: Guarded) -> None:
    operator = VaultCommands(guarded.settings("operator"), guarded.folder)
    both = {"GATEWAY_VAULT_REDIS_URL": guarded.settings("vault").url or ""}
    for words in (("link", "ann", "--credentials", "crm"), ("list",), ("unlink", "ann", "--yes")):
        ended = await asyncio.to_thread(operator.gateway, "users", *words, **both)
        assert ended.code == 0, ended.said
    assert await guarded.refusals() == []


async def pulled(gateway: Served, key: str) -> str:
    answer = await gateway.get(PULL, key)
    assert answer.status == 200, answer.body
    return str(answer.json["credentials"][0]["fields"]["value"])


@asynccontextmanager
async def users_of(cluster: ClusterStore) -> AsyncIterator[tuple[StoreSettings, Redis]]:
    """The gateway's settings and the operator's client, under the shipped rights on each node."""
    lines = (DEPLOY / "users.acl").read_text().splitlines()
    rules = {line.split(" ")[1]: line for line in lines}
    places = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    found = {}
    for user in ("gateway", "operator"):
        # A selector is one word to ACL SETUSER.
        head, *selectors = rules[user].split(" (")
        words = [*head.split(" ")[2:], *(f"({one}" for one in selectors)]
        for node in cluster.nodes:
            await run(node, "ACL", "SETUSER", user, "reset", f">{user}", *words)
        url = f"redis+cluster://{user}:{user}@{places}"
        found[user] = replace(cluster.settings, url=url)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_store(found["operator"]))
        yield found["gateway"], client


async def test_in_a_cluster_the_same_rights_are_enough() -> None:
    async with cluster_store() as cluster, users_of(cluster) as (settings, operator):
        async with new_world(settings, operator) as world:
            world.serve(world.agent())
            keys = [await world.issue(limits="rate=9/s quota=99/d concurrency=3") for _ in range(8)]
            for key in keys:
                assert (await world.call(key)).status == 200
            for node in cluster.nodes[:3]:
                await node.client.script_flush()
            for key in keys:
                assert (await world.call(key)).status == 200
                await operator.delete(world.record(key))
                assert (await world.call(key)).code == "key_invalid"
            # With those above these are two kinds of refusals, recorded at once when it ends.
            assert (await world.call(None)).code == "key_missing"
        for node in cluster.nodes:
            assert await run(node, "ACL", "LOG") == []
