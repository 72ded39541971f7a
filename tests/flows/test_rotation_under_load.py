"""A secret is replaced while its callers call: nobody notices who may still come, and nobody comes
who may not."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.domain.keys import key as grammar
from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from tests.cli.commands import PEPPER, Commands
from tests.flows.world import World, metrics, new_world

SECRET = b64decode(PEPPER)
GRACE = 4


class Call(NamedTuple):
    """`began` and `ended` by the clock that Redis goes by too. `code`: ok, or why not."""

    began: float
    ended: float
    code: str


@dataclass
class Caller:
    """Calls on with one secret, at all gateways in turn."""

    world: World
    key: Key
    calls: list[Call] = field(default_factory=list)

    async def call_on(self) -> None:
        turn = 0
        while True:
            began, turn = time.time(), turn + 1
            answer = await self.world.call(self.key, gateway=turn % len(self.world.gateways))
            code = "ok" if answer.status == 200 else answer.code
            self.calls.append(Call(began, time.time(), code))
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator["Caller"]:
        tasks = [asyncio.create_task(self.call_on()) for _ in range(2)]
        await self.further(20)
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def further(self, count: int) -> None:
        wanted = len(self.calls) + count
        async with asyncio.timeout(20):
            while len(self.calls) < wanted:
                await asyncio.sleep(0.01)

    def codes(self, *, before: float = float("inf"), since: float = 0.0) -> set[str]:
        """Of the calls that lie wholly within this time."""
        found = {call.code for call in self.calls if call.began >= since and call.ended < before}
        assert found, "nobody called then"
        return found


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client, gateways=2, peppers=(SECRET,)) as made:
        yield made


@pytest.fixture
def keys(store: StoreSettings, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)


async def run(keys: Commands, *words: str) -> Any:
    """`gateway keys WORDS --json`, beside the load."""
    ended = await asyncio.to_thread(keys, *words, "--json")
    assert ended.code == 0, ended.said
    return ended.json


async def rotate(keys: Commands, key: Key, *words: str) -> Key:
    new = grammar.parse((await run(keys, "rotate", key.id, *words))["key"])
    assert new is not None
    return new


async def test_both_secrets_work_during_the_grace_and_only_the_new_one_after_it(
    world: World, keys: Commands
) -> None:
    old = await world.issue()
    async with Caller(world, old).calling() as olds:
        new = await rotate(keys, old, "--grace", f"{GRACE}s")
        async with Caller(world, new).calling() as news:
            ends = int(await world.client.hget(world.record(old), "previous_expires_at") or 0)
            await asyncio.sleep(max(0.0, ends - time.time()))
            await olds.further(20)
            await news.further(20)
    assert olds.codes(before=ends) == {"ok"}
    assert olds.codes(since=ends) == {"key_invalid"}
    assert news.codes() == {"ok"}


async def test_it_is_told_when_each_of_the_two_secrets_was_last_used(
    world: World, keys: Commands
) -> None:
    old = await world.issue()
    assert (await world.call(old)).status == 200
    first = await run(keys, "show", old.id)
    assert abs(first["last_used_at"] - time.time()) < 10
    new = await rotate(keys, old, "--grace", "1h")
    turned = await run(keys, "show", old.id)
    # The use of the old secret is not taken for one of the new secret.
    assert turned["last_used_at"] is None
    assert turned["previous_last_used_at"] == first["last_used_at"]
    assert (await world.call(new)).status == 200
    both = await run(keys, "show", old.id)
    assert both["last_used_at"] >= both["rotated_at"]
    assert both["previous_last_used_at"] == first["last_used_at"]
    await rotate(keys, new, "--grace", "0")
    ended = await run(keys, "show", old.id)
    assert (ended["last_used_at"], ended["previous_last_used_at"]) == (None, None)


async def test_without_a_grace_the_old_secret_is_dead_when_the_command_returns(
    world: World, keys: Commands
) -> None:
    old = await world.issue()
    async with Caller(world, old).calling() as olds:
        begun = time.time()
        new = await rotate(keys, old, "--grace", "0")
        returned = time.time()
        async with Caller(world, new).calling() as news:
            await olds.further(100)
    assert olds.codes(before=begun) == {"ok"}
    assert olds.codes(since=returned) == {"key_invalid"}
    assert olds.codes() == {"ok", "key_invalid"}
    assert news.codes() == {"ok"}


async def test_a_whole_department_is_rotated_and_none_of_its_callers_refused(
    world: World, keys: Commands, client: Redis, tmp_path: Path
) -> None:
    held = [await world.issue() for _ in range(4)]
    stranger = await world.issue(consumer="other")
    callers = [Caller(world, key) for key in (*held, stranger)]
    running = [asyncio.create_task(caller.call_on()) for caller in callers]
    out = tmp_path / "new-keys"
    words = ("--consumer", "sales", "--grace", "1h", "--yes", "--out", str(out))
    await run(keys, "rotate", *words)
    new = [json.loads(line) for line in out.read_text().splitlines()]
    assert {one["id"] for one in new} == {key.id for key in held}
    for caller in callers:
        await caller.further(20)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert [caller.codes() for caller in callers] == [{"ok"}] * len(callers)
    # Both secrets of each have their tags: a process that has just started computes nothing.
    async with new_world(world.store, client, peppers=(SECRET,)) as fresh:
        for text in (*(key.text for key in held), *(one["key"] for one in new)):
            assert (await fresh.call(text)).status == 200
        assert (await metrics(fresh))["gateway_argon2_runs_total"] == 0


async def test_a_rotation_whose_answer_was_lost_is_asked_for_again_and_no_caller_notices(
    world: World, keys: Commands
) -> None:
    old = await world.issue()
    again = ("--grace", "1h", "--idempotency-key", "once")
    async with Caller(world, old).calling() as olds:
        lost = await rotate(keys, old, *again)
        first = await run(keys, "show", old.id)
        assert (await world.call(lost)).status == 200
        new = await rotate(keys, old, *again)
        returned = time.time()
        async with Caller(world, new).calling() as news, Caller(world, lost).calling() as losts:
            await olds.further(50)
        second = await run(keys, "show", old.id)
    assert olds.codes() == {"ok"}
    assert news.codes() == {"ok"}
    assert losts.codes(since=returned) == {"key_invalid"}
    assert second["grace_until"] == first["grace_until"]
    assert second["previous_last_used_at"] == first["previous_last_used_at"]
