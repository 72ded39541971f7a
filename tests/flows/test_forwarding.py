"""What reaches the agent and what comes back, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from io import BytesIO
from ipaddress import ip_network

import pytest

from gateway.domain.errors import Code
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Timeouts, Upstream
from tests.flows.agents import agent_that, says
from tests.flows.raw import PATIENCE, exchange, read_answer
from tests.flows.refusals import check
from tests.flows.world import World


async def test_the_agent_learns_who_calls_and_never_the_key(world: World) -> None:
    key = await world.issue("agents/echo", consumer="sales", users=("u1",))
    answer = await world.call(
        key,
        headers={
            "X-User-Id": "u1",
            "X-Gateway-Key-Id": "forged",
            "X-Gateway-Anything": "forged",
            "x-api-key": "sk-another",
            "X-Request-Id": "the-callers",
        },
    )
    got = answer.received
    assert got["x-gateway-key-id"] == [key.id]
    assert got["x-gateway-consumer"] == ["sales"]
    assert got["x-gateway-agent"] == ["echo"]
    assert got["x-gateway-scopes"] == ["agents/echo"]
    assert got["x-gateway-user"] == ["u1"]
    assert got["x-request-id"] == [answer.headers["X-Request-Id"]]
    assert key.text not in answer.body.decode()
    assert not {"authorization", "x-api-key", "x-gateway-anything", "x-user-id"} & set(got)


async def test_a_record_cannot_break_a_header_line(world: World) -> None:
    key = await world.issue()
    await world.client.hset(world.record(key), "consumer", "a\r\nX-Evil: 1\u00e9")
    got = (await world.call(key)).received
    assert got["x-gateway-consumer"] == ["a%0D%0AX-Evil: 1%C3%A9"]
    assert "x-evil" not in got


async def test_path_and_query_arrive_byte_for_byte(world: World) -> None:
    key = await world.issue()
    for sent, arrived in [
        ("/agents/echo", "/"),
        ("/agents/echo/", "/"),
        ("/agents/echo?x=1", "/?x=1"),
        ("/agents/echo/A%20b/%C3%a9?q=%2F..%2f&r=a+b", "/A%20b/%C3%a9?q=%2F..%2f&r=a+b"),
    ]:
        head = f"GET {sent} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n\r\n"
        assert (await exchange(world.address, head.encode())).json["path"] == arrived


async def test_an_agents_base_path_stands_before_what_is_left(world: World) -> None:
    world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", world.agent_port, "/api/v2")))
    assert (await world.call(await world.issue())).json["path"] == "/api/v2/hello"


async def test_a_host_of_its_own_leads_to_an_agent_with_nothing_cut(world: World) -> None:
    world.serve(world.agent("support", hosts=("support.example.com",)), world.agent("echo"))
    key = await world.issue("agents/support")
    answer = await world.call(key, "/any/path", headers={"Host": "Support.Example.com:8080"})
    assert answer.json["path"] == "/any/path"
    assert answer.received["x-gateway-agent"] == ["support"]
    through = await world.call(key, "/agents/echo/x", headers={"Host": "support.example.com"})
    assert through.json["path"] == "/agents/echo/x"
    ready = await world.call(None, "/readyz", headers={"Host": "support.example.com"})
    assert ready.json == {"status": "ok"}
    link = await world.call(key, "/connect/token", headers={"Host": "support.example.com"})
    assert link.status == 404, "such links are the gateway's own, on every host"
    assert b"<h1>" in link.body


async def test_an_agent_that_has_the_host_is_not_shown_who_is_signed_in_to_the_console(
    world: World,
) -> None:
    """Browsers tell hosts apart and not ports: what is under /console/ here gets its cookie."""
    world.serve(world.agent(hosts=("gw.example.com",)))
    key = await world.issue()
    for sent, passed in (
        ("gateway_console=token; a=1", ["a=1"]),
        ("gateway_console=token", []),
        ("a=1; b=2", ["a=1; b=2"]),
    ):
        headers = {"Host": "gw.example.com", "Cookie": sent}
        answer = await world.call(key, "/console/x", headers=headers)
        assert answer.received.get("cookie", []) == passed


async def test_the_host_is_the_agents_unless_preserved(world: World) -> None:
    key = await world.issue()
    own = f"127.0.0.1:{world.agent_port}"
    assert (await world.call(key, headers={"Host": "x.test"})).received["host"] == [own]
    world.serve(world.agent(preserve_host=True))
    assert (await world.call(key, headers={"Host": "x.test"})).received["host"] == ["x.test"]


async def test_the_forwarding_family_is_the_gateways_own(world: World) -> None:
    key = await world.issue()
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Original-URL": "/evil",
        "X-HTTP-Method-Override": "DELETE",
    }
    got = (await world.call(key, headers={**forged, "Host": "x.test"})).received
    assert got["x-forwarded-for"] == ["127.0.0.1"]
    assert got["x-forwarded-proto"] == ["http"]
    assert got["x-forwarded-host"] == ["x.test"]
    assert got["forwarded"] == ['for=127.0.0.1;proto=http;host="x.test"']
    assert not {"x-real-ip", "x-original-url", "x-http-method-override"} & set(got)
    assert "x-forwarded-prefix" not in got
    world.serve(world.agent(), trusted_proxies=(ip_network("127.0.0.0/8"),))
    proxied = {**forged, "X-Forwarded-Proto": "https", "Host": "x.test"}
    got = (await world.call(key, headers=proxied)).received
    assert got["x-forwarded-for"] == ["6.6.6.6, 127.0.0.1"]
    assert got["x-forwarded-proto"] == ["https, http"]
    assert got["x-forwarded-host"] == ["evil, x.test"]
    assert got["forwarded"] == ['for=6.6.6.6, for=127.0.0.1;proto=http;host="x.test"']
    assert not {"x-real-ip", "x-original-url", "x-forwarded-prefix"} & set(got)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_a_well_formed_trace_goes_on(world: World, sent: str, kept: bool) -> None:
    headers = {"traceparent": sent, "tracestate": "vendor=1"}
    got = (await world.call(await world.issue(), headers=headers)).received
    version, trace, span, flags = got["traceparent"][0].split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)
    assert (trace == sent[3:35]) == kept
    assert span != sent[36:52]
    assert got.get("tracestate") == (["vendor=1"] if kept else None)
    if kept:
        assert flags == "00"


async def test_what_the_agent_answers_comes_back_unchanged(world: World) -> None:
    answer = await world.call(await world.issue())
    assert answer.headers["X-Agent"] == "echo"
    assert len(answer.headers.getall("X-Request-Id")) == 1
    assert answer.headers["X-Request-Id"] != "the-agents-own"


async def test_what_the_agent_says_for_one_hop_or_of_other_places_goes_no_further(
    world: World,
) -> None:
    lines = (
        *("Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=9", "Upgrade: h2c"),
        *("Proxy-Authenticate: Basic", "Proxy-Connection: close", "Trailer: X-T", "TE: trailers"),
        *('Alt-Svc: h3="evil.example:443"', "Service-Worker-Allowed: /"),
        'NEL: {"report_to": "r", "max_age": 9, "success_fraction": 1}',
        'Report-To: {"group": "r", "endpoints": [{"url": "https://evil.example"}]}',
        *("X-Kept: yes", "Content-Length: 2"),
    )
    head = "\r\n".join(("HTTP/1.1 200 OK", *lines, "", ""))
    async with agent_that(says(head.encode() + b"ok")) as upstream:
        world.serve(world.agent(upstream=upstream))
        answer = await world.call(await world.issue())
    assert (answer.body, answer.headers["X-Kept"]) == (b"ok", "yes")
    names = {line.partition(":")[0] for line in lines[:-2]}
    assert not {name.lower() for name in names} & {name.lower() for name in answer.headers}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_is_passed_on(world: World, method: str) -> None:
    assert (await world.call(await world.issue(), method=method)).json["method"] == method


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 5_000_000])
async def test_bodies_arrive_whole_sized_and_chunked(world: World, size: int) -> None:
    key = await world.issue()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 65_536):
            yield b"x" * min(65_536, size - start)

    assert (await world.call(key, method="POST", data=BytesIO(b"x" * size))).json["length"] == size
    assert (await world.call(key, method="POST", data=pieces())).json["length"] == size


async def test_the_caller_is_told_to_go_on_only_after_admission(world: World) -> None:
    key = await world.issue()
    reader, writer = await asyncio.open_connection(*world.address)
    head = (
        "POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
    )
    writer.write(f"{head}Authorization: Bearer {key.text}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    answer = await read_answer(reader)
    assert (answer.json["body"], "expect" in answer.received) == ("hello", False)
    writer.close()
    refused = await exchange(world.address, f"{head}\r\n".encode())
    check(refused, Code.KEY_MISSING)


async def test_a_public_route_takes_no_key_and_tells_no_identity(world: World) -> None:
    health = Route(*parse_path("/health"), "", frozenset({"GET"}), public=True)
    chat = Route(*parse_path("/**"), "chat")
    world.serve(world.agent(routes=(health, chat)))
    key = await world.issue()
    for caller in (None, key, "agk_live_nonsense"):
        answer = await world.call(caller, "/agents/echo/health")
        assert answer.status == 200
        assert not [name for name in answer.received if name.startswith("x-gateway-")]
        assert "authorization" not in answer.received
    for spelling in ("/agents/echo/Health", "/agents/echo/health/", "/agents/echo/he%61lth"):
        head = f"GET {spelling} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        check(await exchange(world.address, head), Code.KEY_MISSING)


async def test_requests_on_one_connection_are_answered_in_order(world: World) -> None:
    key = await world.issue()
    one = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
    reader, writer = await asyncio.open_connection(*world.address)
    for number in range(50):
        body = b"b" * number
        head = f"POST /agents/echo/{number} {one}Content-Length: {number}\r\n\r\n"
        writer.write(head.encode() + body)
    for number in range(50):
        answer = await read_answer(reader)
        assert (answer.json["path"], answer.json["length"]) == (f"/{number}", number)
    writer.close()


async def test_http_1_0_is_served(world: World) -> None:
    key = await world.issue()
    head = f"GET /agents/echo/x HTTP/1.0\r\nAuthorization: Bearer {key.text}\r\n\r\n"
    reader, writer = await asyncio.open_connection(*world.address)
    writer.write(head.encode())
    whole = await reader.read()
    assert whole.startswith(b"HTTP/1.1 200")
    assert json.loads(whole.split(b"\r\n\r\n", 1)[1])["path"] == "/x"
    writer.close()


@pytest.mark.denial("upstream_protocol")
@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
)
async def test_an_answer_that_is_not_clean_http_is_a_502(world: World, answer: bytes) -> None:
    async with agent_that(says(answer)) as upstream:
        world.serve(world.agent(upstream=upstream))
        check(await world.call(await world.issue()), Code.UPSTREAM_PROTOCOL)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_cut_answer_never_looks_whole(world: World, answer: bytes, version: str) -> None:
    key = await world.issue()
    async with agent_that(says(answer)) as upstream:
        world.serve(world.agent(upstream=upstream))
        reader, writer = await asyncio.open_connection(*world.address)
        head = f"GET /agents/echo/x HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {key.text}"
        writer.write(f"{head}\r\n\r\n".encode())
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            # Broken before anything was passed on, it may still be refused in good form.
            check(await read_answer(reader), Code.UPSTREAM_PROTOCOL)


async def test_nor_does_one_whose_request_came_in_several_pieces(world: World) -> None:
    """HTTP/1.0 knows no chunks: only a reset tells the caller that something is missing."""
    cut = asyncio.Event()

    async def answer_in_part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"body")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await cut.wait()

    key = await world.issue()
    async with agent_that(answer_in_part) as upstream:
        world.serve(world.agent(upstream=upstream))
        reader, writer = await asyncio.open_connection(*world.address)
        head = f"POST /agents/echo/x HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
        with closing(writer):
            writer.write(f"{head}Content-Length: 4\r\n\r\n".encode())
            await asyncio.sleep(0.05)
            writer.write(b"body")
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b"hello")
                cut.set()
                with pytest.raises(ConnectionResetError):
                    await reader.read()


async def test_an_answer_without_a_length_ends_with_its_connection(world: World) -> None:
    async with agent_that(says(b"HTTP/1.1 200 OK\r\n\r\nhello")) as upstream:
        world.serve(world.agent(upstream=upstream))
        assert (await world.call(await world.issue())).body == b"hello"


async def test_a_post_is_never_sent_twice(world: World) -> None:
    heads = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with agent_that(hang_up) as upstream:
        world.serve(world.agent(upstream=upstream))
        answer = await world.call(await world.issue(), method="POST", data=b"x")
        check(answer, Code.UPSTREAM_UNREACHABLE)
    assert len(heads) == 1


async def test_what_an_agent_sends_too_much_reaches_nobody(world: World) -> None:
    extra = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n"
    async with agent_that(says(extra, then_close=False)) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        for _ in range(3):
            answer = await world.call(key)
            assert (answer.body, "X-Evil" in answer.headers) == (b"ok", False)


@pytest.mark.parametrize(
    ("early", "status", "body"),
    [
        (b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", 413, b"big"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ],
)
async def test_an_early_answer_is_relayed_and_the_connection_ends_as_it_says(
    world: World, early: bytes, status: int, body: bytes
) -> None:
    key = await world.issue()
    async with agent_that(says(early, then_close=False)) as upstream:
        world.serve(world.agent(upstream=upstream))
        head = f"POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
        data = f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 1000
        reader, writer = await asyncio.open_connection(*world.address)
        with closing(writer):
            writer.write(data)
            # Neither waits for the rest of the body.
            async with asyncio.timeout(10):
                answer = await read_answer(reader, body=bool(body))
                assert (answer.status, answer.body) == (status, body)
                assert answer.headers["Connection"] == "close"
                assert await reader.read() == b""


async def test_a_caller_that_leaves_ends_the_call_to_the_agent(world: World) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        assert await reader.read() == b""
        left.set()
        writer.close()

    key = await world.issue()
    async with agent_that(wait) as upstream, asyncio.timeout(10):
        world.serve(world.agent(upstream=upstream))
        call = asyncio.create_task(world.call(key))
        await arrived.wait()
        call.cancel()
        await left.wait()


async def test_a_stream_that_falls_silent_is_cut_after_its_idle_time(world: World) -> None:
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    key = await world.issue()
    async with agent_that(says(begun, then_close=False)) as upstream:
        world.serve(world.agent(upstream=upstream, timeouts=Timeouts(idle=0.2)))
        head = f"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n\r\n"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchange(world.address, head.encode())
