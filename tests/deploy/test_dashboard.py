"""Prometheus as `deploy/` has it asks a gateway, and each panel of the dashboard has an answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deploy.programs import DEPLOY, PATIENCE, replaced, started
from tests.flows.conftest import world
from tests.flows.world import World
from tests.needed import program

__all__ = ["world"]

# Labelled by what happened, and here it did not.
EMPTY = {"Credentials in answers of tools", "Refusals that rules on trial would make"}


@pytest.fixture
async def prometheus(world: World, tmp_path: Path) -> AsyncIterator[str]:
    """Its URL; the gateway's admin listener is asked every half second."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    places = {
        "127.0.0.1:8081": str(world.gateways[0].admin.address),
        "scrape_interval: 15s": "scrape_interval: 500ms",
        "[rules.yml]": f"[{DEPLOY}/prometheus/rules.yml]",
    }
    (tmp_path / "prometheus.yml").write_text(replaced(text, places))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(program("prometheus", "Debian: prometheus"), f"--config.file={tmp_path}/prometheus.yml"),
        *(f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    async with started(command, port):
        # It listens before it has read what it stored, and answers 503 until then.
        async with asyncio.timeout(PATIENCE):
            while not await answers(world.session, f"http://127.0.0.1:{port}/-/ready"):
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/api/v1"


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(url) as answer:
        return answer.status == 200


async def asked(session: aiohttp.ClientSession, url: str, query: str) -> list[dict[str, Any]]:
    async with session.get(f"{url}/query", params={"query": query}) as answer:
        told = await answer.json()
    assert told["status"] == "success", (query, told)
    found: list[dict[str, Any]] = told["data"]["result"]
    return found


async def test_every_panel_shows_what_a_gateway_tells(world: World, prometheus: str) -> None:
    key = await world.issue()
    world.gateways[0].base.traffic.policies_tried(taken=True)
    session = world.session
    async with asyncio.timeout(PATIENCE):
        while not await asked(session, prometheus, "rate(gateway_store_seconds_count[1m]) > 0"):
            await world.call(key)
            await world.call(None)
            await asyncio.sleep(0.2)
    told = json.loads((DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text())
    for panel in told["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            found = await asked(session, prometheus, query)
            assert bool(found) is (panel["title"] not in EMPTY), query
    (one,) = await asked(session, prometheus, 'up{job="gateway"}')
    assert one["value"][1] == "1"
    async with session.get(f"{prometheus}/rules") as answer:
        groups = (await answer.json())["data"]["groups"]
    assert all(rule["health"] != "err" for group in groups for rule in group["rules"])
