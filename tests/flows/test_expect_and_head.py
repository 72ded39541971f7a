"""`Expect: 100-continue` is answered here; HEAD gets what GET gets, without the body."""

import asyncio
from contextlib import closing, suppress

import pytest

from gateway.domain.errors import Code
from gateway.domain.keys.limits import Limits, Rate
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Upstream
from tests.flows.agents import agent_that
from tests.flows.callers import caller, head
from tests.flows.raw import read_answer
from tests.flows.refusals import check
from tests.flows.world import Answer, World, routes

EXPECT = "Expect: 100-continue"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_who_waits_is_told_to_go_on_once_and_the_agent_never_hears_of_it(
    world: World,
) -> None:
    async with caller(world) as end:
        for spelled in (EXPECT, "expect: 100-Continue"):
            end.send(
                await head(world, "POST /agents/echo/x HTTP/1.1", "Content-Length: 5", spelled)
            )
            assert await end.read(len(GO_ON)) == GO_ON
            end.send(b"hello")
            answer = await read_answer(end.reader)
            assert answer.json["body"] == "hello"
            assert "expect" not in answer.received


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/agents/echo/x", ("Content-Length: 5",), Code.KEY_INVALID),
        ("/agents/echo/none", ("Content-Length: 5",), Code.NOT_FOUND),
        ("/agents/echo/x", ("Content-Length: 5000",), Code.BODY_TOO_LARGE),
        ("/agents/down/x", ("Content-Length: 5",), Code.UPSTREAM_UNREACHABLE),
        ("/agents/limited/x", ("Content-Length: 5",), Code.RATE_LIMITED),
    ],
)
async def test_who_is_refused_gets_the_refusal_and_no_word_to_go_on(
    world: World, path: str, headers: tuple[str, ...], code: Code
) -> None:
    plan = Plan("p", Limits(), {"limited": Limits(Rate(1, 3600))})
    world.serve(
        world.agent(max_body=1000, routes=routes(("/x", "POST", "x"))),
        world.agent("down", upstream=Upstream("http", "127.0.0.1", 1)),
        world.agent("limited"),
        plans={"p": plan},
    )
    key = await world.issue(plan="p")
    await world.call(key, "/agents/limited/x")
    text = "agk_live_garbage" if code is Code.KEY_INVALID else key.text
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {text}", EXPECT, *headers)
    async with caller(world) as end:
        end.send("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        check(await read_answer(end.reader), code)


async def test_who_does_not_wait_needs_no_word_to_go_on(world: World) -> None:
    async with caller(world) as end:
        whole = await head(world, "POST /agents/echo/x HTTP/1.1", "Content-Length: 5", EXPECT)
        end.send(whole + b"hello")
        assert (await read_answer(end.reader)).json["body"] == "hello"
        end.send(await head(world, "GET /agents/echo/x HTTP/1.1", EXPECT))
        answer = await read_answer(end.reader)
        assert "expect" not in answer.received


async def test_http_1_0_knows_no_interim_answers(world: World) -> None:
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.0", "Content-Length: 5", EXPECT))
        await asyncio.sleep(0.1)
        end.send(b"hello")
        assert (await read_answer(end.reader)).json["body"] == "hello"


async def test_any_other_expectation_is_refused(world: World) -> None:
    answer = await world.call(await world.issue(), headers={"Expect": "a miracle"})
    check(answer, Code.BAD_REQUEST)


async def test_the_agents_own_interim_answers_reach_nobody(world: World) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(GO_ON + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await reader.read()

    async with agent_that(hasty) as upstream:
        world.serve(world.agent(upstream=upstream))
        async with caller(world) as end:
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            answer = await read_answer(end.reader)
            assert (answer.status, answer.body) == (200, b"ok")
            assert "Link" not in answer.headers


ONLY_ONCE = {"x-request-id", "request-id", "date", "ratelimit", "x-ratelimit-remaining"}


def told(answer: Answer) -> dict[str, str]:
    """The headers of an answer without those that no two answers share."""
    pairs = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in pairs.items() if name not in ONLY_ONCE}


@pytest.mark.parametrize(
    "path", ["/livez", "/agents/echo/x", "/agents/echo/none", "/agents/nobody/x", "/agents/a//b"]
)
@pytest.mark.parametrize("keyed", [True, False])
async def test_head_gets_status_and_headers_of_get(world: World, path: str, keyed: bool) -> None:
    world.serve(world.agent(routes=routes(("/x", "GET HEAD", "x"))))
    key = await world.issue() if keyed else None
    got, asked = await world.call(key, path), await world.call(key, path, "HEAD")
    assert asked.status == got.status
    assert asked.body == b""
    if got.status != 200 or path == "/livez":
        assert told(asked) == told(got)
        assert int(asked.headers["Content-Length"]) == len(got.body)
    else:
        assert asked.headers["X-Agent"] == "echo"


@pytest.mark.parametrize("listener", ["data", "admin"])
async def test_a_refused_head_request_gets_no_body_though_it_could_not_be_read(
    world: World, listener: str
) -> None:
    address = getattr(world.gateways[0], listener).address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    with closing(writer):
        writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert body == b""


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"],
)
async def test_an_answer_to_head_has_no_body_whatever_it_announces(
    world: World, framing: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                if request.startswith(b"HEAD"):
                    writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        async with caller(world) as end:
            for _ in range(2):
                end.send(await head(world, "HEAD /agents/echo/x HTTP/1.1"))
                answer = await read_answer(end.reader, body=False)
                assert answer.status == 200
                assert ("Content-Length" in answer.headers) == (b"Length" in framing)
                end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
                assert (await read_answer(end.reader)).body == b"ok"
