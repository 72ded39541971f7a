"""All workers log more or less while they run, and none forgets how it was started."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path

from aiohttp import ClientSession
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.crews import Crew, crew, issue
from tests.cli.serving import PATIENCE
from tests.flows.world import PEPPER


async def put(made: Crew, key: str, **body: str | None) -> dict[str, str]:
    url = "http://{}:{}/admin/v1/log-level".format(*made.served.admin)
    headers = {"Authorization": f"Bearer {key}"}
    async with ClientSession() as session, session.put(url, json=body, headers=headers) as told:
        assert told.status == 200, await told.text()
        found: dict[str, str] = await told.json()
        return found


async def changed(made: Crew, level: str) -> set[int]:
    """The workers that say that they log this from now on, once all have."""
    pids: set[int] = set()
    async with asyncio.timeout(PATIENCE):
        while len(pids) < len(made.pids):
            event = await made.served.event("log_level_changed")
            assert event["now"] == level
            pids.add(event["worker"])
    return pids


async def test_every_worker_follows_and_turns_back_by_itself(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    (tmp_path / "policies").mkdir()
    dead = {name: f"http://127.0.0.1:{port}" for name, port in (("a", 1), ("b", 2))}
    agents = ", ".join(f"{name}: {{upstream: '{url}'}}" for name, url in dead.items())
    (tmp_path / "policies" / "a.yaml").write_text(f"version: 1\nagents: {{{agents}}}\n")
    settings = {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        "GATEWAY_LOG_LEVEL": "info",
    }
    admin = await issue(client)
    await client.hset(f"gw:key:{{{admin.id}}}", "scopes", "gateway/admin agents/*")
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        told = await put(made, admin.text, level="error", span="3s")
        assert told == {"level": "error", "own": "info"}
        assert await changed(made, "error") == set(made.pids)
        assert (await made.served.get("/agents/a/x", admin.text)).status == 502
        assert await changed(made, "info") == set(made.pids), "after three seconds"
        assert (await made.served.get("/agents/b/x", admin.text)).status == 502
        assert (await made.served.event("upstream_unreachable"))["level"] == "warning"
        await client.set("gw:log-level", "shout")
        await put(made, admin.text, level="debug")
        assert await changed(made, "debug") == set(made.pids)
        assert await put(made, admin.text, level=None)
        assert await changed(made, "info") == set(made.pids)
    said = [one["upstream"] for one in made.served.events if one["event"] == "upstream_unreachable"]
    assert said == [dead["b"]], "the first call was at the level error"
    records = [json.loads(fields["record"]) for _, fields in await client.xrange("gw:audit")]
    acts = [(one["event"], one["actor"]) for one in records if one["event"].startswith("log_")]
    actor = f"key:{admin.id}"
    assert acts == [(f"log_level.{to}", actor) for to in ("error", "debug", "forget")]
