"""The life of a key: what each verb does, what it refuses, and what it says."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.domain.errors import ChangedError, OperationError, UsageError
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.limits import parse_own
from gateway.domain.policies.plans import Plan
from gateway.services.keys import lifecycle
from gateway.store.keys import KeyStore, NewSecret
from tests.flows.nodes import free_ports
from tests.flows.own_store import own_store
from tests.server import server_binary

ID, OTHER_ID, MISSING = "4xT9mQ2LrB7c", "9zZ9zZ9zZ9zZ", "000000000000"


@pytest.fixture
async def keys(client: Redis) -> KeyStore:
    return await with_two_keys(client)


async def with_two_keys(client: Redis) -> KeyStore:
    keys = KeyStore(client, "gw:")
    for key_id in (ID, OTHER_ID):
        await keys.create(key_id, NewSecret("h", "t", "0001"), {"consumer": "sales"})
    return keys


async def status(keys: KeyStore, key_id: str = ID) -> str:
    record = await keys.get(key_id)
    assert record is not None
    return record.status


async def test_a_revocation_is_told_and_a_second_one_changes_nothing(keys: KeyStore) -> None:
    first = await lifecycle.revoke(keys, [ID, MISSING])
    assert [change.outcome for change in first.changes] == ["revoked", "refused"]
    assert first.changes[1].note.startswith(f"There is no key {MISSING}")
    assert await status(keys) == "revoked"
    again = await lifecycle.revoke(keys, [ID])
    assert [change.outcome for change in again.changes] == ["unchanged"]


async def test_enable_undoes_disable_only(keys: KeyStore) -> None:
    assert (await lifecycle.set_status(keys, ID, "disabled")).outcome == "disabled"
    assert (await lifecycle.set_status(keys, ID, "active")).outcome == "enabled"
    await lifecycle.revoke(keys, [ID])
    refused = await lifecycle.set_status(keys, ID, "active")
    assert refused.refused
    assert f"gateway keys rotate {ID}" in refused.note


@pytest.mark.parametrize("wanted", ["active", "disabled"])
async def test_of_a_revoked_record_without_a_hash_the_next_step_works(
    keys: KeyStore, client: Redis, wanted: str
) -> None:
    await client.hset(f"gw:key:{{{MISSING}}}", "status", "revoked")
    refused = await lifecycle.set_status(keys, MISSING, wanted)
    assert refused.refused
    # To rotate it is refused as well: there is no secret.
    assert "rotate" not in refused.note and f"gateway keys delete {MISSING}" in refused.note
    assert (await lifecycle.delete(keys, MISSING)).outcome == "deleted"


async def test_one_record_that_makes_no_sense_does_not_hold_up_the_others(
    keys: KeyStore, client: Redis
) -> None:
    await client.set(f"gw:key:{{{MISSING}}}", "no record")
    done = await lifecycle.revoke(keys, [MISSING, ID])
    assert [change.outcome for change in done.changes] == ["refused", "revoked"]


async def test_a_full_redis_still_revokes_and_says_how(keys: KeyStore, client: Redis) -> None:
    await client.config_set("maxmemory", 1)
    try:
        done = await lifecycle.revoke(keys, [ID])
    finally:
        await client.config_set("maxmemory", 0)
    assert done.changes[0].outcome == "deleted"
    assert "Redis is full" in done.changes[0].note
    assert await keys.get(ID) is None


async def test_an_update_sets_only_what_is_given(keys: KeyStore) -> None:
    record, _ = await lifecycle.update(keys, ID, KeyFields(label="new", expires_at=1_893_456_000))
    assert (record.label, record.expires_at) == ("new", "1893456000")
    assert (record.consumer, record.hash) == ("sales", "h")
    record, _ = await lifecycle.update(keys, ID, KeyFields(expires_at=0))
    assert record.expires_at == ""


async def test_an_update_of_nothing_or_of_no_key_is_refused(keys: KeyStore) -> None:
    with pytest.raises(UsageError, match="Nothing to change"):
        await lifecycle.update(keys, ID, KeyFields())
    with pytest.raises(OperationError, match=f"no key {MISSING}"):
        await lifecycle.update(keys, MISSING, KeyFields(label="x"))


async def test_an_update_that_would_close_the_key_by_its_limits_is_refused(keys: KeyStore) -> None:
    """Its own are read over those of its plan, whichever of the two is given."""
    plans = {"fast": Plan("fast", parse_own("rate=9/s")), "free": Plan("free", parse_own(""))}

    async def updated(**fields: str) -> str:
        record, _ = await lifecycle.update(keys, ID, KeyFields(**fields), plans=plans)
        return record.limits

    with pytest.raises(UsageError, match="'burst' means nothing without 'rate'"):
        await updated(limits="burst=5")
    assert await updated(limits="burst=5", plan="fast") == "burst=5"
    for plan in ("free", ""):
        with pytest.raises(UsageError, match="'burst' means nothing without 'rate'"):
            await updated(plan=plan)
    plans["fast"] = Plan("fast", parse_own(""))
    assert await updated(label="closed as it is, it still takes others") == "burst=5"
    assert await updated(plan="", limits="rate=2/s burst=5") == "rate=2/s burst=5"


async def test_what_was_changed_meanwhile_is_neither_changed_nor_deleted(keys: KeyStore) -> None:
    _, revision = await keys.revised(ID)
    await keys.update(ID, {"label": "theirs"})
    with pytest.raises(ChangedError):
        await lifecycle.update(keys, ID, KeyFields(label="mine"), revision)
    with pytest.raises(ChangedError):
        await lifecycle.delete(keys, ID, revision)
    record = await keys.get(ID)
    assert record is not None and record.label == "theirs"


@pytest.mark.parametrize("conditional", [False, True])
async def test_a_deletion_is_told_once(keys: KeyStore, conditional: bool) -> None:
    expected = (await keys.revised(ID))[1] if conditional else ""
    assert (await lifecycle.delete(keys, ID, expected)).outcome == "deleted"
    assert await keys.get(ID) is None
    assert (await lifecycle.delete(keys, ID, expected)).refused


async def test_without_a_replica_there_is_nothing_to_wait_for(keys: KeyStore) -> None:
    assert (await lifecycle.revoke(keys, [ID])).replicated is None


async def test_of_a_revocation_that_was_refused_nobody_says_that_it_may_be_undone() -> None:
    async with own_store() as store:
        keys = await with_two_keys(store.client)
        await store.client.config_set("busy-reply-threshold", 50)
        endless = asyncio.create_task(store.client.eval("while true do end", 0))
        try:
            with pytest.raises(ResponseError, match="BUSY"):
                while True:
                    await store.client.ping()
            done = await lifecycle.revoke(keys, [ID])
        finally:
            await store.client.script_kill()
            await asyncio.wait({endless})
        assert done.changes[0].refused and "BUSY" in done.changes[0].note
        # Nor can it be asked who has what it has.
        assert done.replicated is None
        assert isinstance(endless.exception(), ResponseError)


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    return subprocess.Popen(
        [server_binary(), "--save", "", "--dir", folder, "--bind", "127.0.0.1", *arguments],
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[tuple[Redis, "subprocess.Popen[bytes]"]]:
    """A Redis with one replica in step, and the replica's process."""
    port, other = free_ports(2)
    with ExitStack() as ends:
        replica = ("--port", str(other), "--replicaof", "127.0.0.1", str(port))
        processes = [
            start(tmp_path / "primary", "--port", str(port), "--repl-diskless-sync-delay", "0"),
            start(tmp_path / "replica", *replica),
        ]
        for process in processes:
            ends.callback(process.wait)
            ends.callback(process.kill)
        until_started = Retry(ConstantBackoff(0.05), 400, (RedisConnectionError,))
        client: Redis = Redis(port=port, decode_responses=True, retry=until_started)
        async with asyncio.timeout(20), client.client() as line:
            # A replica that has just copied everything acknowledges late for up to a second.
            offset = 0
            while not offset:
                await line.set("probe", "x")
                await line.wait(1, 200)
                offset = (await line.info("replication")).get("slave0", {}).get("offset", 0)
        yield client, processes[1]
        await client.aclose()


async def test_a_revocation_waits_for_a_replica_and_tells_when_none_has_it(
    primary: tuple[Redis, "subprocess.Popen[bytes]"],
) -> None:
    client, replica = primary
    keys = await with_two_keys(client)
    assert (await lifecycle.revoke(keys, [ID])).replicated is True
    replica.send_signal(signal.SIGSTOP)
    done = await lifecycle.revoke(keys, [OTHER_ID])
    assert done.replicated is False
    assert await status(keys, OTHER_ID) == "revoked"
    await client.acl_setuser("default", commands=["-wait"])
    done = await lifecycle.revoke(keys, [ID])
    assert done.replicated is False, "nor where nobody may ask for one"
