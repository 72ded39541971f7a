"""Traces as a collector gets them: a real receiver of OTLP over HTTP, and what was sent to it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.cli.serve import asks_for_traces
from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import StoreSettings
from tests.cli.serving import environment, serving
from tests.flows.world import World, listening, new_world

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT, INTERNAL = 2, 3, 1


@dataclass
class Collector:
    """`open` cleared: it takes requests and answers none. `status`: of its answers."""

    port: int = 0
    status: int = 200
    resources: list[dict[str, str]] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    raw: bytes = b""
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        await self.open.wait()
        body = await request.read()
        self.raw += body
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(told.resource))
            self.spans += [span for scope in told.scope_spans for span in scope.spans]
        return web.Response(status=self.status, content_type="application/x-protobuf")

    async def got(self, count: int) -> dict[str, Any]:
        """So many spans, by name."""
        async with asyncio.timeout(30):
            while len(self.spans) < count:
                await asyncio.sleep(0.02)
        assert len(self.spans) == count
        return {span.name: span for span in self.spans}


def attributes(one: Any) -> dict[str, str]:
    return {
        pair.key: pair.value.string_value or str(pair.value.int_value) for pair in one.attributes
    }


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    made = Collector()
    made.open.set()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    async with listening(app) as made.port:
        url = f"http://127.0.0.1:{made.port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield made


@pytest.fixture
async def world(store: StoreSettings, client: Redis, collector: Collector) -> AsyncIterator[World]:
    async with new_world(store, client, traces=True) as made:
        yield made


async def test_a_request_is_a_span_with_admission_and_the_agents_part_within(
    world: World, collector: Collector
) -> None:
    key = await world.issue()
    answer = await world.call(key, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    spans = await collector.got(3)
    whole, admission, upstream = (
        spans[name] for name in ("GET /agents/echo", "admission", "upstream")
    )
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert (whole.kind, whole.parent_span_id.hex()) == (SERVER, SPAN)
    assert (admission.kind, admission.parent_span_id) == (INTERNAL, whole.span_id)
    assert (upstream.kind, upstream.parent_span_id) == (CLIENT, whole.span_id)
    (passed_on,) = answer.received["traceparent"]
    assert passed_on == f"00-{TRACE}-{upstream.span_id.hex()}-01"
    told = attributes(whole)
    assert told["http.response.status_code"] == "200" and told["gateway.agent"] == "echo"
    assert told["gateway.request_id"] == answer.headers["X-Request-Id"]
    begins = whole.start_time_unix_nano
    assert begins == admission.start_time_unix_nano < admission.end_time_unix_nano
    assert admission.end_time_unix_nano == upstream.start_time_unix_nano
    assert upstream.end_time_unix_nano == whole.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "agent-credential-gateway"


async def test_a_trace_begins_here_where_the_caller_has_none(
    world: World, collector: Collector
) -> None:
    answer = await world.call(await world.issue())
    spans = await collector.got(3)
    whole, upstream = spans["GET /agents/echo"], spans["upstream"]
    assert not whole.parent_span_id
    expected = f"00-{whole.trace_id.hex()}-{upstream.span_id.hex()}-01"
    assert answer.received["traceparent"] == [expected]


async def test_a_refusal_is_told_with_its_code_and_nothing_that_a_stranger_sent_is(
    world: World, collector: Collector
) -> None:
    key = await world.issue()
    secret = "s3cret-of-a-stranger"
    path = f"/agents/echo/{secret}?token={secret}"
    await world.call(f"{key.text}x", path, "DELETE", {"X-User-Id": secret, "Cookie": secret})
    await world.call(key, path, headers={"X-Secret": secret})
    spans = await collector.got(4)
    refused = spans["DELETE /agents/echo"]
    assert attributes(refused)["error.type"] == "key_invalid"
    assert attributes(refused)["http.response.status_code"] == "401"
    for text in (secret, key.text, key.text[-8:], "token="):
        assert text.encode() not in collector.raw


async def test_a_consumer_that_is_no_text_stops_no_trace(
    world: World, collector: Collector, client: Redis
) -> None:
    key = await world.issue()
    await client.hset(world.record(key), "consumer", b"\xff sales")
    await world.call(key)
    spans = await collector.got(3)
    assert attributes(spans["GET /agents/echo"])["gateway.consumer"] == "? sales"


async def test_an_agent_that_is_away_is_an_error(world: World, collector: Collector) -> None:
    async with listening(web.Application()) as port:
        pass
    world.serve(world.agent("gone", upstream=Upstream("http", "127.0.0.1", port)))
    await world.call(await world.issue(), "/agents/gone/x")
    spans = await collector.got(3)
    assert spans["GET /agents/gone"].status.code == 2
    assert attributes(spans["GET /agents/gone"])["error.type"] == "upstream_unreachable"


async def test_a_collector_that_hangs_holds_no_request_up_and_not_the_end(
    store: StoreSettings, client: Redis, collector: Collector
) -> None:
    collector.open.clear()
    async with asyncio.timeout(60), new_world(store, client, traces=True) as world:
        key = await world.issue()
        for _ in range(200):
            assert (await world.call(key)).status == 200
    collector.open.set()


async def test_spans_that_nobody_takes_are_told_of_and_not_where_they_were_to_go(
    world: World, collector: Collector
) -> None:
    collector.status = 400
    with capture_logs() as logs:
        await world.call(await world.issue())
        async with asyncio.timeout(30):
            while not any(event["event"] == "traces_not_sent" for event in logs):
                await asyncio.sleep(0.02)
    assert str(collector.port) not in str(logs)


async def test_without_the_extra_it_serves_and_says_what_is_missing(
    store: StoreSettings, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the library cannot be found.
    monkeypatch.setitem(sys.modules, "gateway.services.telemetry.tracing", None)
    with capture_logs() as logs:
        async with new_world(store, client, traces=True) as world:
            assert (await world.call(await world.issue())).status == 200
    (told,) = (event["reason"] for event in logs if event["event"] == "traces_off")
    assert told == "pip install 'agent-credential-gateway[otel]'"


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_made_where_somebody_is_named_who_takes_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asked: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert asks_for_traces() is asked


async def test_a_trace_that_is_not_sampled_is_not_sent_and_the_agent_is_told_so(
    store: StoreSettings, client: Redis, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with new_world(store, client, traces=True) as world:
        answer = await world.call(await world.issue())
    assert answer.received["traceparent"][0].endswith("-00")
    assert collector.spans == []


async def test_who_serves_traces_as_the_environment_says(
    store: StoreSettings, collector: Collector, tmp_path: Any
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("version: 1\n")
    settings = {"GATEWAY_REDIS_URL": store.url or "", "OTEL_SERVICE_NAME": "mine"}
    async with serving(folder=tmp_path, settings=settings, anew=True) as served:
        await served.get("/agents/none/x")
        await collector.got(1)
    assert collector.resources[0]["service.name"] == "mine"


def test_nobody_who_does_not_trace_loads_the_library() -> None:
    program = (
        "import sys, gateway.app, gateway.cli.serve;"
        "sys.exit(any(name.startswith('opentelemetry.exporter') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment()).returncode == 0
