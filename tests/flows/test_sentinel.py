"""Redis behind sentinels: a new master is found without anybody's help, and nobody is let in by
one that is master no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio.sentinel import SentinelConnectionPool

from gateway.domain.errors import Code, StoreError
from gateway.services.audit.verify import AT_ONCE
from gateway.store.commands import command
from gateway.store.connections.connect import open_store
from gateway.store.connections.sentinel import WATCH_SECONDS
from gateway.store.keys import KeyStore
from tests.cli.commands import MASTER as MASTER_KEY
from tests.cli.commands import Commands
from tests.flows.nodes import PATIENCE, Node
from tests.flows.refusals import check
from tests.flows.scene import SLACK, TIMEOUT, Scene, opened
from tests.flows.sentinels import MASTER, WatchedStore, watched_store
from tests.flows.trickle import Trickle, trickling

RECOVERY = 5.0


@dataclass
class Fleet:
    """A gateway on a store that sentinels watch."""

    store: WatchedStore
    scene: Scene

    async def failed_over(self, fail: Callable[[Node], Awaitable[object]]) -> Trickle:
        """What callers saw around a failover, from before it until they are served again."""
        master = await self.store.master()
        reached, charged = self.scene.reached, await self.scene.charged()
        async with trickling(self.scene.world, self.scene.limited, callers=4) as seen:
            await asyncio.sleep(0.2)
            await fail(master)
            await self.store.announced(other_than=master)
            await seen.heals(RECOVERY)
        assert seen.statuses <= {200, 503}
        assert seen.slowest() < TIMEOUT + SLACK
        admitted = seen.count(200)
        assert self.scene.reached - reached == admitted, "nobody is let in unchecked"
        # Redis replicates after it has answered, so the last charges may be lost with a master:
        # there is no promise the other way round.
        await asyncio.sleep(2 * WATCH_SECONDS)
        assert await self.scene.charged() - charged <= admitted + seen.count(503)
        return seen


@asynccontextmanager
async def opened_fleet() -> AsyncIterator[Fleet]:
    async with watched_store() as store, opened(store) as scene:  # type: ignore[arg-type]
        await scene.warm_up()
        yield Fleet(store, scene)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with opened_fleet() as made:
        yield made


async def kill(master: Node) -> None:
    master.kill()


async def freeze(master: Node) -> None:
    master.freeze()


async def revoke(fleet: Fleet) -> None:
    async with open_store(fleet.store.settings) as client:
        assert await KeyStore(client, "gw:").set_status(fleet.scene.limited.id, "revoked") == "done"


async def test_a_killed_master_is_replaced_without_anybodys_help(fleet: Fleet) -> None:
    seen = await fleet.failed_over(kill)
    assert seen.count(503), "the master was away for a while"
    await revoke(fleet)
    check(await fleet.scene.world.call(fleet.scene.limited), Code.KEY_REVOKED)


async def test_a_failover_on_purpose_is_followed_and_the_old_master_is_left(fleet: Fleet) -> None:
    async def hand_over(_: Node) -> None:
        await fleet.store.sentinels[0].client.execute_command("SENTINEL", "FAILOVER", MASTER)

    await fleet.failed_over(hand_over)
    await revoke(fleet)
    check(await fleet.scene.world.call(fleet.scene.limited), Code.KEY_REVOKED)


async def test_while_other_replicas_have_yet_to_follow_nobody_is_led_back_to_the_old_master() -> (
    None
):
    """Until then one of the sentinels still calls that one the master, of the newest epoch: a key
    that is revoked there would live on."""
    async with watched_store(replicas=2) as store:
        old = await store.master()
        await store.sentinels[0].client.execute_command("SENTINEL", "FAILOVER", MASTER)
        new = await store.announced(other_than=old)
        pool = cast(SentinelConnectionPool, store.client.connection_pool)
        async with asyncio.timeout(PATIENCE):
            while await store.in_failover():
                assert await pool.get_master_address() == ("127.0.0.1", new.port)


async def test_a_master_that_hung_lets_nobody_in_by_what_it_knew_once_it_wakes_up(
    fleet: Fleet,
) -> None:
    old = await fleet.store.master()
    await fleet.failed_over(freeze)
    await revoke(fleet)
    reached = fleet.scene.reached
    old.thaw()
    for _ in range(200):
        check(await fleet.scene.world.call(fleet.scene.limited), Code.KEY_REVOKED)
    assert fleet.scene.reached == reached


async def test_a_gateway_that_nobody_calls_follows_a_failover_too(fleet: Fleet) -> None:
    master = await fleet.store.master()
    master.freeze()
    try:
        await fleet.store.announced(other_than=master)
        await asyncio.sleep(8 * WATCH_SECONDS)
        for key in (fleet.scene.limited, fleet.scene.unlimited):
            answer, seconds = await fleet.scene.timed(key)
            assert (answer.status, seconds < TIMEOUT) == (200, True)
    finally:
        master.thaw()


async def test_sentinels_that_hang_or_are_gone_hold_nobody_up(fleet: Fleet) -> None:
    fleet.store.sentinels[0].freeze()
    fleet.store.sentinels[1].kill()
    try:
        async with opened(fleet.store, fleet.scene.limited) as later:  # type: ignore[arg-type]
            await later.healed(seconds=2.0)
        assert (await fleet.scene.world.call(fleet.scene.limited)).status == 200
    finally:
        fleet.store.sentinels[0].thaw()


async def test_a_master_that_no_sentinel_knows_is_named_in_one_sentence() -> None:
    async with watched_store() as store:
        url = (store.settings.url or "").replace(f"/{MASTER}?", "/nobody?")
        settings = type(store.settings)(url=url, state_dir=store.settings.state_dir)
        async with open_store(settings) as client:
            with pytest.raises(StoreError, match="know no master named 'nobody'") as refused:
                await command(client, "PING")
        assert "only-for-tests" not in str(refused.value)


async def test_a_bad_record_early_in_the_audit_is_named_and_nothing_else_is_said(
    tmp_path: Path,
) -> None:
    """The rest is not read: what was opened for it is closed before the command ends."""
    async with watched_store() as store:
        for _ in range(2 * AT_ONCE):
            await store.client.xadd("gw:audit", {"record": "no record"})
        verify = partial(Commands(store.settings, tmp_path).gateway, GATEWAY_MASTER_KEY=MASTER_KEY)
        ended = await asyncio.to_thread(verify, "audit", "verify")
    assert (ended.code, ended.said.count("\n")) == (1, 1), ended.said
    assert ended.said.endswith("is bad: it is no audit record.\n")
