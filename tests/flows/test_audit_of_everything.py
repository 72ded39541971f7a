"""What the gateway refuses is on record, floods as counts; decoys look like none, and are told."""

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.settings import AuditFileSettings, AuditSettings, Fsync
from gateway.domain.credentials import Version, parse_id
from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines, rotated
from tests.flows.audit import come, metric, records
from tests.flows.services import keep, put
from tests.flows.world import MASTER, World, new_world
from tests.services.vaults import Vault

SERVICE = """version: 1
services:
  crm:
    upstream: {url}
    inject: {{headers: {{X-Token: "${{user.crm.value}}"}}}}
"""


async def test_a_refusal_of_a_proven_key_is_on_record_with_all_that_is_known(world: World) -> None:
    world.serve(world.agent())
    key = await world.issue("agents/other")
    answer = await world.call(key)
    (one,) = await come(world, "request.denied", 1)
    assert one["decision"] == "denied"
    assert one["key_id"] == key.id
    assert (one["consumer"], one["agent"]) == ("sales", "echo")
    assert (one["code"], one["status"]) == ("scope_denied", 403)
    assert one["request_id"] == answer.headers["X-Request-Id"]
    assert one["latency_ms"] > 0
    assert one["count"] == 1


async def test_refusals_without_a_proven_key_are_one_record_a_code(
    short_folds: None, world: World
) -> None:
    world.serve(world.agent())
    for _ in range(20):
        await world.call(None)
    (one,) = await come(world, "request.denied", 1)
    assert (one["code"], one["count"], one["key_id"]) == ("key_missing", 20, "")


async def test_refusals_by_limits_are_a_record_and_then_a_count(
    short_folds: None, world: World
) -> None:
    world.serve(world.agent())
    key = await world.issue("agents/*", limits="quota=1/month")
    for _ in range(11):
        await world.call(key)
    first, rest = await come(world, "request.denied", 2)
    assert (first["code"], first["count"], first["key_id"]) == ("quota_exhausted", 1, key.id)
    assert (rest["code"], rest["count"], rest["key_id"]) == ("quota_exhausted", 9, key.id)


async def test_traffic_goes_on_where_refusals_cannot_be_recorded(world: World) -> None:
    world.serve(world.agent())
    key, other = await world.issue("agents/*"), await world.issue("agents/other")
    await world.client.set(f"{world.store.prefix}audit", "no stream")
    assert (await world.call(other)).code == "scope_denied"
    assert (await world.call(key)).status == 200
    ends = time.monotonic() + 15
    while await metric(world, "gateway_audit_lost_total") < 1 and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    assert await metric(world, "gateway_audit_lost_total") == 1
    await world.client.delete(f"{world.store.prefix}audit")


async def test_what_was_recorded_is_one_good_chain(world: World) -> None:
    world.serve(world.agent())
    other = await world.issue("agents/other")
    await asyncio.gather(*(world.call(other) for _ in range(30)))
    await come(world, "request.denied", 30)
    chains = Chains(audit_keys(MasterKeys((MASTER,))).by_id, signed=True, gone_before=-math.inf)
    async for _, record in AuditStore(world.client, world.store.prefix).read():
        assert not chains.problem(record)


async def test_a_decoy_key_is_refused_like_an_unknown_one_and_told_of(world: World) -> None:
    """Also where it was a real key a moment ago, and the gateway knew it well."""
    world.serve(world.agent())
    key, unknown = await world.issue("agents/*"), await world.issue("agents/*")
    await world.client.delete(world.record(unknown))
    assert (await world.call(key)).status == 200
    await world.client.hset(world.record(key), "status", "canary")
    decoy, stranger = await world.call(key), await world.call(unknown)
    assert decoy.code == "key_invalid"
    for answer in (decoy, stranger):
        body = answer.json
        body.pop("request_id")
        assert body == {
            "type": "error",
            "error": {
                "type": "authentication_error",
                "code": "key_invalid",
                "message": decoy.json["error"]["message"],
                "param": None,
            },
        }
    assert _shape(decoy.headers) == _shape(stranger.headers)
    (one,) = await come(world, "canary.key", 1)
    assert one["key_id"] == key.id
    assert await metric(world, "gateway_canary_uses_total") == 1


async def hide(world: World, name: str) -> None:
    """A decoy, once the gateway has it in memory."""
    value = Version(1, {"value": "never-to-be-seen-by-anyone"})
    await Vault(world.client).write(name, type="canary", current=value)
    ends = time.monotonic() + 15
    while not world.gateways[0].base.credentials.is_decoy(parse_id(name)):
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)


def _shape(headers: Any) -> dict[str, str]:
    changing = ("x-request-id", "request-id", "date")
    return {name.lower(): v for name, v in headers.items() if name.lower() not in changing}


async def test_a_decoy_credential_is_none_to_whoever_asks_for_it_and_told_of(world: World) -> None:
    await hide(world, "backup_key")
    world.serve(world.agent())
    key = await world.issue("gateway/credentials")
    found = await world.call(key, "/v1/credentials?names=backup_key")
    missing = await world.call(key, "/v1/credentials?names=no_such_key")
    assert b"never-to-be" not in found.body
    assert found.json["credentials"] == missing.json["credentials"] == []
    assert found.json["removed"] == ["backup_key"]
    assert missing.json["removed"] == ["no_such_key"]
    (one,) = await come(world, "canary.credential", 1)
    assert one["credentials"] == [{"name": "backup_key", "version": 0}]
    assert one["key_id"] == key.id


async def test_a_decoy_of_a_user_is_put_into_no_call(world: World) -> None:
    await hide(world, "user/ann/crm")
    put(world, SERVICE.format(url=f"http://127.0.0.1:{world.agent_port}"))
    key = await world.issue("services/crm", users=("ann", "bob"))
    decoy = await world.call(key, "/services/crm/x", headers={"X-User-Id": "ann"})
    missing = await world.call(key, "/services/crm/x", headers={"X-User-Id": "bob"})
    assert decoy.code == missing.code == "credential_unavailable"
    of_ann = json.loads(missing.body.replace(b"bob", b"ann"))
    assert decoy.json["error"] == of_ann["error"]
    (one,) = await come(world, "canary.credential", 1)
    assert one["credentials"][0]["name"] == "user/ann/crm"


async def test_a_consumer_of_any_bytes_is_on_record_and_holds_nothing_up(world: World) -> None:
    """Records are written by hand too: what is no text must not end whoever writes the audit."""
    world.serve(world.agent())
    odd, plain = await world.issue("agents/other"), await world.issue("agents/other")
    await world.client.hset(world.record(odd), "consumer", b"\xff shop")
    for key in (odd, plain, odd, plain):
        assert (await world.call(key)).code == "scope_denied"
    told = await come(world, "request.denied", 4)
    assert [one["consumer"] for one in told] == ["? shop", "sales", "? shop", "sales"]


async def test_a_key_that_is_gone_while_its_answer_is_held_back_is_no_decoy(world: World) -> None:
    """It was proven, and it is none now: the same refusal, but nobody stole it."""
    vault = Vault(world.client)
    await keep(world, vault, "crm", "api_key", value="one")
    key = await world.issue("gateway/credentials")
    url = "/v1/credentials?names=crm"
    revision = (await world.call(key, url)).json["revision"]
    held = asyncio.create_task(world.call(key, f"{url}&since={revision}&wait=20"))
    await asyncio.sleep(0.2)
    await world.client.delete(world.record(key))
    await keep(world, vault, "crm", "api_key", number=2, value="two")
    assert (await held).code == "key_invalid"
    (one,) = await come(world, "request.denied", 1)
    assert (one["code"], one["key_id"]) == ("key_invalid", key.id)
    assert await records(world, "canary.key") == []
    assert await metric(world, "gateway_canary_uses_total") == 0


async def made_by_api(world: World) -> tuple[int, str]:
    """Status and code of an attempt to make a key by the admin API."""
    admin = await world.issue("gateway/admin")
    url = f"http://{world.gateways[0].admin.address}/admin/v1/keys"
    headers = {"Authorization": f"Bearer {admin.text}"}
    asked = {"consumer": "sales", "scopes": ["agents/*"]}
    async with world.session.post(url, json=asked, headers=headers) as answer:
        return answer.status, (await answer.json(content_type=None)).get("code", "")


@asynccontextmanager
async def full_disk(store: StoreSettings, client: Redis) -> AsyncIterator[tuple[World, Key]]:
    """A gateway whose audit file cannot be written, and a key."""
    full = AuditSettings(AuditFileSettings(Path("/dev/full")))
    async with new_world(store, client, audit=full) as world:
        put(world, SERVICE.format(url=f"http://127.0.0.1:{world.agent_port}"))
        await keep(world, Vault(world.client), "user/ann/crm", "api_key", value="ann-s-own-value")
        key = await world.issue("services/crm", "agents/*", users=("ann",))
        yield world, key


async def test_a_file_that_cannot_be_written_stops_credentials_and_no_other_traffic(
    store: StoreSettings, client: Redis
) -> None:
    async with full_disk(store, client) as (world, key):
        answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": "ann"})
        assert (answer.status, answer.code) == (503, "audit_unavailable")
        assert await made_by_api(world) == (503, "audit_unavailable")
        world.serve(world.agent())
        assert (await world.call(key)).status == 200
        assert await records(world) == []


async def test_a_file_that_cannot_be_written_is_not_logged_once_a_request(
    store: StoreSettings, client: Redis
) -> None:
    """The log may be on the same disk."""
    async with full_disk(store, client) as (world, key):
        with capture_logs() as logs:
            for _ in range(50):
                answer = await world.call(key, "/services/crm/x", headers={"X-User-Id": "ann"})
                assert answer.code == "audit_unavailable"
    said = [event for event in logs if event["event"] == "audit_unavailable"]
    assert 1 <= len(said) < 5


async def test_the_file_of_a_gateway_is_on_the_disk_within_a_second_and_rotated(
    store: StoreSettings, client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino))
    path = tmp_path / "audit.jsonl"
    file = AuditFileSettings(path, 4000, 0, Fsync.SECOND)
    async with new_world(store, client, audit=AuditSettings(file)) as world:
        world.serve(world.agent())
        key = await world.issue("agents/other")
        for told in (10, 20):
            await asyncio.gather(*(world.call(key) for _ in range(10)))
            await come(world, "request.denied", told)
        inodes = {one.stat().st_ino for one in (*rotated(path), path)}
        assert len(inodes) > 1
        ends = time.monotonic() + 15
        while not inodes <= synced and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        assert inodes <= synced
    chains = Chains(audit_keys(MasterKeys((MASTER,))).by_id, signed=True, gone_before=-math.inf)
    assert not any(chains.problem(record) for _, record in read_lines(path))
    assert (chains.records, chains.open) == (21, 0)
