"""`gateway doctor`: what is wrong with Redis, the workers and the records, and what to do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from gateway import __version__
from gateway.domain.errors import UnreachableError
from gateway.domain.settings import StoreSettings
from gateway.domain.workers import WorkerRecord
from gateway.services.diagnosis import diagnose as diagnosis
from gateway.services.diagnosis.diagnose import diagnose
from gateway.services.diagnosis.findings import Finding
from gateway.services.diagnosis.redis import SLOW_SECONDS
from gateway.store.workers import TTL_SECONDS, WorkerStore
from tests.cli.commands import Commands, Ended
from tests.flows.own_store import OwnStore, own_store

WORKER = WorkerRecord("host-1", 100, __version__, 1_790_000_000, "abc", "127.0.0.1:8080")

# On a busy machine every Redis is far away, which only one of the tests is about.
FAR = "every request waits for one"


@pytest.fixture
async def own() -> AsyncIterator[OwnStore]:
    async with own_store() as made:
        yield made


async def hear_of_a_worker(client: Redis) -> None:
    """For good: a command on a busy machine may take longer than a heartbeat lasts."""
    await WorkerStore(client, "gw:").write(WORKER)
    (name,) = await client.keys("gw:worker:*")
    assert await client.persist(name)


async def wrong(client: Redis) -> list[Finding]:
    found = await diagnose(client, "gw:")
    return [one for one in found.findings if one.wrong and FAR not in one.sentence]


async def asked(store: StoreSettings, folder: Path, *arguments: str) -> Ended:
    return await asyncio.to_thread(Commands(store, folder).gateway, "doctor", *arguments)


async def test_a_redis_that_goes_away_while_it_is_looked_at_is_not_taken_for_a_login_without_rights(
    own: OwnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def goes_away(*_: object) -> list[str]:
        raise UnreachableError("Redis could not answer: Connection refused.")

    monkeypatch.setattr(diagnosis, "hashless", goes_away)
    found = await diagnose(own.client, "gw:")
    assert (found.answered, found.well) == (False, False)
    assert [one.topic for one in found.findings] == ["redis"]


async def test_where_all_is_well_it_says_so_and_ends_with_0(own: OwnStore, tmp_path: Path) -> None:
    await hear_of_a_worker(own.client)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("version: 1\nplans: {p: {}}\n")
    ended = await asked(own.settings, tmp_path)
    assert (ended.code, ended.said) == (int(FAR in ended.out), "")
    others = ("files may be open", FAR)
    lines = [line for line in ended.out.splitlines() if not any(one in line for one in others)]
    assert [line.split()[0] for line in lines] == ["ok"] * 6
    topics = ["redis", "workers", "keys", "policies", "secrets", "machine"]
    assert [line.split()[1] for line in lines] == topics
    assert "append-only file, maxmemory-policy noeviction" in lines[0]
    assert "1 worker on 1 host" in lines[1]


async def test_for_machines_it_tells_the_same_and_each_worker(
    own: OwnStore, tmp_path: Path
) -> None:
    await hear_of_a_worker(own.client)
    await own.client.config_set("maxmemory-policy", "allkeys-lru")
    await own.client.hset("gw:key:{typingerrors}", "status", "revoked")
    ended = await asked(own.settings, tmp_path, "--json")
    assert ended.code == 1
    assert ended.json["ok"] is False
    topics = [f["topic"] for f in ended.json["findings"] if f["wrong"] and FAR not in f["sentence"]]
    assert topics == ["redis", "keys"]
    assert ended.json["workers"] == [
        {
            "host": "host-1",
            "pid": 100,
            "version": __version__,
            "started_at": 1_790_000_000,
            "revision": "abc",
            "listen": "127.0.0.1:8080",
        }
    ]
    assert ended.json["records_without_hash"] == ["gw:key:{typingerrors}"]


async def test_a_redis_that_cannot_be_reached_is_told_in_a_sentence_that_helps(
    tmp_path: Path,
) -> None:
    nowhere = StoreSettings(url=f"unix://{tmp_path}/nothing", state_dir=tmp_path)
    ended = await asked(nowhere, tmp_path)
    assert ended.code == 1
    first, *others = ended.out.splitlines()
    assert first.startswith("wrong  redis     Redis could not answer")
    assert "GATEWAY_REDIS_URL" in first
    assert not [line for line in others if line.startswith("wrong")]


async def test_a_redis_that_hangs_does_not_hang_the_doctor(own: OwnStore, tmp_path: Path) -> None:
    own.freeze()
    try:
        ended = await asked(own.settings, tmp_path)
    finally:
        own.thaw()
    assert ended.code == 1
    assert ended.out.startswith("wrong  redis")


async def test_without_a_redis_it_looks_at_the_embedded_store(
    store: StoreSettings, tmp_path: Path
) -> None:
    embedded = replace(store, url=None)
    with TemporaryDirectory() as state:
        listed = Commands(embedded, tmp_path).gateway
        await asyncio.to_thread(listed, "keys", "list", "--state-dir", state)
        ended = await asked(embedded, tmp_path, "--state-dir", state)
    assert ended.code == int(FAR in ended.out)
    assert "No worker has been heard of: start one with 'gateway serve'." in ended.out


async def test_where_there_is_no_store_it_says_so_and_makes_none(
    store: StoreSettings, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    ended = await asked(replace(store, url=None), tmp_path, "--state-dir", str(state))
    assert ended.code == 0
    assert ended.out.startswith("warn   redis     No Redis is named")
    assert "GATEWAY_REDIS_URL" in ended.out
    assert not state.exists()


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("maxmemory-policy", "volatile-lru", "Set it to noeviction"),
        ("appendonly", "no", "Say 'CONFIG SET appendonly yes' before"),
    ],
)
async def test_settings_under_which_state_can_be_lost_are_wrong(
    own: OwnStore, setting: str, value: str, advice: str
) -> None:
    assert await wrong(own.client) == []
    await own.client.config_set(setting, value)
    (finding,) = await wrong(own.client)
    assert finding.topic == "redis"
    assert advice in finding.sentence


async def test_a_replica_is_wrong(own: OwnStore) -> None:
    await own.client.replicaof("127.0.0.1", "1")
    sentences = [finding.sentence for finding in await wrong(own.client)]
    assert any("give the address of its primary" in sentence for sentence in sentences)


async def test_workers_that_differ_are_wrong(own: OwnStore) -> None:
    workers = WorkerStore(own.client, "gw:")
    await workers.write(WORKER)
    await workers.write(replace(WORKER, pid=101))
    assert await wrong(own.client) == []
    heard = [f.sentence for f in (await diagnose(own.client, "gw:")).findings]
    assert f"2 workers on 1 host can be heard: version {__version__}." in heard
    await workers.write(replace(WORKER, pid=102, version="0.0.9"))
    (finding,) = await wrong(own.client)
    assert f"{__version__}: 2, 0.0.9: 1" in finding.sentence
    assert "SIGUSR2" in finding.sentence
    await workers.write(replace(WORKER, pid=102, revision="old"))
    (finding,) = await wrong(own.client)
    assert "abc: 2, old: 1" in finding.sentence


async def test_a_heartbeat_ends_by_itself_and_goes_with_a_clean_end(own: OwnStore) -> None:
    workers = WorkerStore(own.client, "gw:")
    await workers.write(WORKER)
    (name,) = [name async for name in own.client.scan_iter("gw:worker:*")]
    assert name == "gw:worker:host-1:100"
    assert 0 < await own.client.ttl(name) <= TTL_SECONDS
    await workers.remove(WORKER)
    assert await workers.all() == []


async def test_what_others_put_under_these_names_does_not_break_it(own: OwnStore) -> None:
    await own.client.set("gw:worker:text", "x")
    await own.client.hset("gw:worker:bytes", "host", b"\xff\x1b[2J")
    await own.client.execute_command("SET", b"gw:key:{\xff}", "x")
    found = await diagnose(own.client, "gw:")
    assert len(found.workers) == 1
    assert len(found.hashless) == 1


async def test_records_without_a_hash_are_named_and_keys_are_not(
    own: OwnStore, tmp_path: Path
) -> None:
    key = await asyncio.to_thread(Commands(own.settings, tmp_path).create)
    assert await wrong(own.client) == []
    for n in range(7):
        await own.client.hset(f"gw:key:{{mistyped{n}}}", "status", "revoked")
    await own.client.set("gw:key:{text}", "x")
    (finding,) = await wrong(own.client)
    assert finding.topic == "keys"
    assert finding.sentence.startswith("8 records without a hash")
    assert "gw:key:{mistyped0}" in finding.sentence
    assert "and 3 more" in finding.sentence
    assert key.id not in finding.sentence


async def test_a_redis_that_is_far_away_is_wrong(own: OwnStore) -> None:
    async with far_away(own) as client:
        found = await diagnose(client, "gw:")
    (finding,) = [finding for finding in found.findings if finding.wrong]
    assert finding.topic == "redis"
    assert FAR in finding.sentence


@pytest.mark.parametrize(("ours", "told"), [(-60, "60 s ahead of"), (60, "60 s behind")])
async def test_a_clock_that_differs_is_wrong(own: OwnStore, ours: int, told: str) -> None:
    found = await diagnose(own.client, "gw:", clock=lambda: time.time() + ours)
    (finding,) = [one for one in found.findings if one.wrong and FAR not in one.sentence]
    assert f"Redis' clock is {told} this machine's" in finding.sentence


@asynccontextmanager
async def far_away(own: OwnStore) -> AsyncIterator[Redis]:
    """A client of `own` for which every answer takes longer."""
    connections: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: float) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(wait)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(own.folder / "s")
        for one in (pump(reader, back, 0), pump(there, writer, 3 * SLOW_SECONDS)):
            connections.add(asyncio.create_task(one))

    path = own.folder / "far"
    server = await asyncio.start_unix_server(relay, path)
    client: Redis = Redis(unix_socket_path=str(path), decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()
        await asyncio.gather(*connections)
        server.close()
