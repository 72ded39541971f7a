"""Argon2 and a fleet: who restarts, is flooded, or changes its pepper pays nothing for it."""

import asyncio
import re
import signal
from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.crypto.tags import Peppers, pepper_id
from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from tests.cli.crews import Crew, Load, SlowAgent, crew, gone
from tests.cli.serving import PATIENCE, Connection
from tests.flows.many_keys import many_keys
from tests.flows.wrong_keys import unknown, wrong

OLD, NEW = b"o" * 32, b"n" * 32
WORKERS, KEYS = 4, 200


@pytest.fixture
def pepper_file(tmp_path: Path) -> Path:
    path = tmp_path / "pepper"
    write(path, OLD)
    return path


def write(path: Path, *peppers: bytes) -> None:
    path.write_text("\n".join(b64encode(pepper).decode() for pepper in peppers))


@pytest.fixture
def settings(
    store: StoreSettings, agent: SlowAgent, tmp_path: Path, pepper_file: Path
) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(text)
    return {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER_FILE": str(pepper_file),
        "GATEWAY_ACCESS_LOG": "off",
    }


async def runs(made: Crew) -> int:
    """Of all workers together, since the first one started."""
    answer = await made.served.get("/metrics", admin=True)
    (row,) = re.findall(r"^gateway_argon2_runs_total (\S+)$", answer.body.decode(), re.MULTILINE)
    return int(float(row))


async def ask(connection: Connection, texts: list[str]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    for text in texts:
        statuses[(await connection.get("/agents/a/quick", text)).status] += 1
    return statuses


async def asked_everywhere(made: Crew, texts: list[str]) -> Counter[int]:
    """Each of these keys, at each worker."""
    connections = [await made.connect_to(pid) for pid in made.pids]
    return sum(await asyncio.gather(*(ask(one, texts) for one in connections)), Counter())


async def rolled(made: Crew) -> None:
    """All workers replaced by new ones, and not before those serve; the old ones have ended."""
    old = list(made.pids)
    made.served.stop(signal.SIGUSR2)
    await made.served.event("rolling_restart_done")
    made.pids = [event["new"] for event in made.served.events if "new" in event][-len(made.pids) :]
    for pid in old:
        await gone(pid)


async def tags(client: Redis, keys: list[Key]) -> set[str]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hget(f"gw:key:{{{key.id}}}", "tag")
    return {str(tag)[:8] for tag in await pipeline.execute()}


async def all_tagged_with(client: Redis, keys: list[Key], pepper: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        while await tags(client, keys) != {pepper_id(pepper)}:
            await asyncio.sleep(0.05)


async def test_workers_that_restart_compute_no_key_that_was_ever_used(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    keys = await many_keys(client, KEYS)
    texts = [key.text for key in keys]
    async with crew(workers=WORKERS, folder=tmp_path, settings=settings) as made:
        first = await ask(await made.connect_to(made.pids[0]), texts)
        assert first == {200: KEYS}
        assert await runs(made) == KEYS
        await all_tagged_with(client, keys, OLD)
        await rolled(made)
        assert await asked_everywhere(made, texts) == {200: KEYS * WORKERS}
        assert await runs(made) == KEYS


async def test_a_flood_with_the_ids_of_real_keys_computes_nothing_in_any_worker(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    keys = await many_keys(client, 100, Peppers((OLD,)))
    async with crew(workers=WORKERS, folder=tmp_path, settings=settings) as made:
        load = Load(made.served, keys[0].text, [key.text for key in keys])
        async with load.running(callers=4):
            bad = [wrong(key) for key in keys] + [unknown() for _ in keys]
            assert await asked_everywhere(made, bad) == {401: len(bad) * WORKERS}
        assert load.failed == []
        assert await runs(made) == 0


async def test_a_pepper_changed_under_load_refuses_nobody_and_computes_nothing(
    settings: dict[str, str], client: Redis, tmp_path: Path, pepper_file: Path
) -> None:
    keys = await many_keys(client, 200, Peppers((OLD,)))
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        load = Load(made.served, keys[0].text, [key.text for key in keys])
        async with load.running(callers=8):
            write(pepper_file, OLD, NEW)
            await rolled(made)
            assert await tags(client, keys) == {pepper_id(OLD)}
            # Whoever goes sees no key for the first time: it would write its own pepper's tag over
            # one that a newcomer has written.
            await asked_everywhere(made, [key.text for key in keys])
            write(pepper_file, NEW, OLD)
            await rolled(made)
            await all_tagged_with(client, keys, NEW)
            write(pepper_file, NEW)
            await rolled(made)
            # Each worker has seen some of them once more.
            seen = load.answered
            async with asyncio.timeout(PATIENCE):
                while load.answered < seen + 2 * len(keys):
                    await asyncio.sleep(0.05)
        assert load.failed == []
        assert await runs(made) == 0
        assert await tags(client, keys) == {pepper_id(NEW)}
