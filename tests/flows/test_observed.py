"""What operators see of the traffic: metrics and one line a request, never a secret."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.keys.limits import Concurrency, Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import AccessLogSettings, Address, StoreSettings
from gateway.services.telemetry.access_log import FLUSH_SECONDS
from tests.flows.raw import exchange
from tests.flows.world import Answer, World, listening, metrics, new_world


async def admin(world: World, path: str, **headers: str) -> Answer:
    url = f"http://{world.gateways[0].admin.address}{path}"
    async with world.session.get(url, headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def test_requests_are_counted_by_agent_and_class_and_denials_by_code(world: World) -> None:
    key = await world.issue(plan="tight")
    limits = Limits(quotas=(Quota(2, Window.DAY),))
    world.serve(world.agent(), plans={"tight": Plan("tight", limits)})
    for _ in range(3):
        await world.call(key)
    await world.call(None)
    await world.call(key, "/agents/nobody/x")
    await exchange(world.address, b"nonsense\r\n\r\n")
    counted = await metrics(world)
    assert counted['gateway_requests_total{agent="echo",status="2xx"}'] == 2
    assert counted['gateway_requests_total{agent="echo",status="4xx"}'] == 2
    assert counted['gateway_requests_total{agent="none",status="4xx"}'] == 2
    assert counted['gateway_denials_total{code="quota_exhausted"}'] == 1
    assert counted['gateway_denials_total{code="key_missing"}'] == 1
    assert counted['gateway_denials_total{code="not_found"}'] == 1
    assert counted['gateway_denials_total{code="bad_request"}'] == 1
    assert counted["gateway_admission_seconds_count"] == 2
    assert counted["gateway_open_streams"] == 0


async def test_what_is_held_and_what_is_in_force_is_shown_while_it_is(world: World) -> None:
    key = await world.issue(plan="few")
    few = Plan("few", Limits(concurrency=Concurrency(1)))
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request) -> web.Response:
        arrived.set()
        await go_on.wait()
        return web.Response()

    async def shown(held: int) -> dict[str, float]:
        async with asyncio.timeout(20):
            while (found := await metrics(world))["gateway_leases"] != held:
                await asyncio.sleep(0.05)
        return found

    app = web.Application()
    app.router.add_get("/{path:.*}", held)
    async with listening(app) as port:
        slow = world.agent("slow", upstream=Upstream("http", "127.0.0.1", port))
        world.serve(slow, plans={"few": few})
        world.policies = replace(world.policies, revision="00000000beef" + "0" * 52)
        calling = asyncio.create_task(world.call(key, "/agents/slow/x"))
        await arrived.wait()
        found = await shown(1)
        assert found["gateway_policies_revision"] == 0xBEEF
        assert found["gateway_tasks"] > 3
        assert found["gateway_audit_lag_seconds"] == found["gateway_argon2_under_way"] == 0
        assert found["gateway_argon2_seconds_count"] == 0, "a tag decided"
        go_on.set()
        await calling
        await shown(0)


async def test_nothing_a_stranger_sends_becomes_a_label(world: World) -> None:
    await world.call(None)
    before = set(await metrics(world))
    for i in range(200):
        headers = {"X-User-Id": f"user{i}", "X-Request-Id": f"r{i}"}
        await world.call(f"agk_live_{i:012d}_{'x' * 38}", f"/agents/echo/{i}", headers=headers)
        await world.call(None, f"/agents/stranger{i}/x")
    grown = set(await metrics(world)) - before
    assert len(grown) < 10, grown


async def test_health_checks_are_not_traffic(world: World) -> None:
    await world.call(None, "/livez")
    assert not any(name.startswith("gateway_requests") for name in await metrics(world))


async def test_the_admin_listener_says_not_found_as_rfc_9457_has_it(world: World) -> None:
    answer = await admin(world, "/nothing")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json["status"] == 404
    assert answer.json["code"] == "not_found"


async def test_beyond_loopback_metrics_are_for_keys_that_may_read_whatever_their_limits(
    store: StoreSettings, client: Redis
) -> None:
    async with new_world(store, client, admin_listen=Address("0.0.0.0", 0)) as world:  # noqa: S104
        address = world.gateways[0].admin.address
        url = f"http://127.0.0.1:{address.port}/metrics"

        async def status(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with world.session.get(url, headers=headers) as answer:
                return answer.status

        reader, other = await world.issue("gateway/read"), await world.issue("*", "gateway/audit")
        assert await status("") == 401
        assert await status(other.text) == 403
        assert await status(reader.text) == 200
        assert await status((await world.issue("gateway/admin")).text) == 200
        # The plan `default` is for callers: two replicas, asked each 15 s, are 11,520 calls a day.
        limited = await world.issue("gateway/read", limits="quota=1/d concurrency=1")
        assert [await status(limited.text) for _ in range(3)] == [200] * 3


async def test_beyond_loopback_who_has_no_key_is_not_told_what_there_is(
    store: StoreSettings, client: Redis
) -> None:
    async with new_world(store, client, admin_listen=Address("0.0.0.0", 0)) as world:  # noqa: S104
        key = await world.issue("agents/*")
        url = f"http://127.0.0.1:{world.gateways[0].admin.address.port}"
        for path, known in (("/admin/v1/openapi.json", 200), ("/admin/v1/x", 404), ("/x", 404)):
            for headers, status in (({}, 401), ({"Authorization": f"Bearer {key.text}"}, known)):
                async with world.session.get(f"{url}{path}", headers=headers) as answer:
                    assert answer.status == status, (path, headers)


@dataclass(frozen=True)
class Log:
    """The access log of a world."""

    store: StoreSettings
    client: Redis
    path: Path

    def world(self, *, as_json: bool = True) -> AbstractAsyncContextManager[World]:
        settings = AccessLogSettings(self.path, as_json=as_json)
        return new_world(self.store, self.client, access_log=settings)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(store: StoreSettings, client: Redis, tmp_path: Path) -> Log:
    return Log(store, client, tmp_path / "access.log")


@pytest.mark.parametrize("as_json", [True, False])
async def test_one_line_is_written_for_each_request(log: Log, as_json: bool) -> None:
    async with log.world(as_json=as_json) as world:
        raw, segments = parse_path("/hello")
        world.serve(world.agent(routes=(Route(raw, segments, "invoke"),)))
        key = await world.issue()
        good = await world.call(key, method="POST", data=b"12345")
        bad = await world.call(key, "/agents/echo/none?token=hush")
        await world.call(None, f"/agents/echo/{key.text}")
        await exchange(world.address, b"GET /\xff HTTP/1.1\r\n\r\n")
    text = log.path.read_text()
    assert len(text.splitlines()) == 4
    assert key.text not in text
    assert "hush" not in text
    assert good.headers["X-Request-Id"] in text
    if not as_json:
        assert f" {key.id} sales echo POST /agents/echo/hello 200 ok 5>" in text
        return
    first, second, third, fourth = log.lines()
    assert (first["key_id"], first["consumer"], first["agent"]) == (key.id, "sales", "echo")
    assert (first["status"], first["code"], first["received"]) == (200, "", 5)
    assert first["sent"] > len(good.body)
    assert 0 < first["admission_ms"] < first["first_byte_ms"] <= first["total_ms"]
    assert (second["request_id"], second["code"]) == (bad.headers["X-Request-Id"], Code.NOT_FOUND)
    assert (second["key_id"], second["path"]) == (key.id, "/agents/echo/none")
    assert (third["code"], third["key_id"]) == (Code.KEY_MISSING, "")
    assert (fourth["status"], fourth["code"]) == (400, Code.BAD_REQUEST)


async def test_a_key_in_the_path_is_masked_however_it_is_spelled(log: Log) -> None:
    async with log.world() as world:
        key = await world.issue()
        once = key.text.replace("a", "%61").replace("_", "%5f")
        spelled = "".join(f"%{ord(c):02x}" for c in key.text)
        for text in (once, spelled, once.replace("%", "%25"), "x" + key.text + "_y"):
            head = f"GET /agents/echo/{text} HTTP/1.1\r\nHost: x\r\n\r\n"
            await exchange(world.address, head.encode())
    lines = log.path.read_text().splitlines()
    assert len(lines) == 4
    for line in lines:
        assert unquote(unquote(line)).count(key.text[22:40]) == 0


async def test_a_consumer_that_is_no_text_is_logged_and_stops_no_line(log: Log) -> None:
    async with log.world() as world:
        key = await world.issue()
        await log.client.hset(world.record(key), "consumer", b"\xff sales")
        await world.call(key)
        await asyncio.sleep(2 * FLUSH_SECONDS)
        await world.call(key)
    lines = log.lines()
    assert [line["consumer"] for line in lines] == ["\udcff sales"] * 2


async def test_a_stream_that_the_end_of_a_drain_cuts_is_told_as_cut(log: Log) -> None:
    async def ticks(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"tick")
        await asyncio.sleep(60)
        return answer

    app = web.Application()
    app.router.add_get("/ticks", ticks)
    async with (
        listening(app) as port,
        log.world() as world,
    ):
        world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", port)))
        headers = {"Authorization": f"Bearer {(await world.issue()).text}"}
        async with world.session.get(f"{world.url}/agents/echo/ticks", headers=headers) as answer:
            assert await answer.content.readany() == b"tick"
            assert await world.gateways[0].drain(0.1) == 1
    (line,) = log.lines()
    assert (line["status"], line["cut"]) == (200, True)


async def test_a_key_that_makes_no_sense_is_told_with_its_consumer(log: Log) -> None:
    async with log.world() as world:
        key = await world.issue()
        await log.client.hset(world.record(key), "limits", "rate=fast")
        assert (await world.call(key)).code == Code.KEY_MISCONFIGURED
    (line,) = log.lines()
    assert (line["key_id"], line["consumer"]) == (key.id, "sales")


async def test_a_log_that_was_rotated_away_is_made_anew(log: Log) -> None:
    async with log.world() as world:
        key = await world.issue()
        await world.call(key)
        async with asyncio.timeout(10):
            while not log.path.exists():
                await asyncio.sleep(0.01)
        log.path.rename(log.path.with_name("access.log.1"))
        await world.call(key)
    assert len(log.path.read_text().splitlines()) == 1
    # Nor is it there for the tools that are programs.
    assert log.path.stat().st_mode & 0o007 == 0


async def test_a_log_that_cannot_be_written_holds_nobody_up(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    settings = AccessLogSettings(tmp_path / "missing" / "access.log", as_json=True)
    async with new_world(store, client, access_log=settings) as world:
        assert (await world.call(await world.issue())).status == 200


async def test_a_bug_is_written_down_under_the_id_that_the_caller_was_told(log: Log) -> None:
    async with log.world() as world:
        world.policies = "nonsense"  # type: ignore[assignment]
        answer = await world.call(None)
    (line,) = log.lines()
    assert (line["status"], line["code"]) == (500, Code.INTERNAL)
    assert line["request_id"] == answer.headers["X-Request-Id"]
