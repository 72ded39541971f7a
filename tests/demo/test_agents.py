"""The demo's agents, asked without a gateway in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from gateway.demo.agents import demo_agents
from gateway.demo.chat import PAUSE_SECONDS
from gateway.demo.echo import MOST_ECHOED


@pytest.fixture
async def ports() -> AsyncIterator[Mapping[str, int]]:
    async with demo_agents() as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def completions(ports: Mapping[str, int]) -> str:
    return f"http://127.0.0.1:{ports['chat']}/v1/chat/completions"


async def test_the_echo_tells_all_that_it_received(
    ports: Mapping[str, int], session: aiohttp.ClientSession
) -> None:
    url = f"http://127.0.0.1:{ports['echo']}/a%20b/c?d=e&d=f"
    headers = [("X-Twice", "one"), ("X-Twice", "two")]
    async with session.put(url, headers=headers, data="grüezi".encode()) as answer:
        told = await answer.json()
    assert (told["method"], told["path"], told["query"]) == ("PUT", "/a%20b/c", "d=e&d=f")
    assert told["headers"]["X-Twice"] == "one, two"
    assert (told["body"], told["body_bytes"]) == ("grüezi", 7)


async def test_a_large_body_is_counted_and_not_kept(
    ports: Mapping[str, int], session: aiohttp.ClientSession
) -> None:
    url = f"http://127.0.0.1:{ports['echo']}/"
    async with session.post(url, data=b"x" * 500_000) as answer:
        told = await answer.json()
    assert told["body_bytes"] == 500_000
    assert told["body"] == "x" * MOST_ECHOED


async def test_each_event_is_sent_as_soon_as_it_is_made(
    ports: Mapping[str, int], session: aiohttp.ClientSession
) -> None:
    asked = {"stream": True, "messages": [{"role": "user", "content": "one two three"}]}
    loop = asyncio.get_running_loop()
    async with session.post(completions(ports), json=asked) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        arrived = []
        events = []
        while event := await answer.content.readuntil(b"\n\n"):
            arrived.append(loop.time())
            events.append(event)
            if event == b"data: [DONE]\n\n":
                break
        assert await answer.content.read() == b""
    # A role, five words, an end, and the mark; a pause before each but the first.
    assert len(events) == 8
    assert arrived[-1] - arrived[0] > PAUSE_SECONDS * 6
    chunk = json.loads(events[1].removeprefix(b"data: "))
    assert (chunk["object"], chunk["choices"][0]["delta"]) == (
        "chat.completion.chunk",
        {"content": "You"},
    )


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": []}', b'{"messages": ["hello"]}'])
async def test_what_makes_no_sense_is_refused_as_openai_does(
    ports: Mapping[str, int], session: aiohttp.ClientSession, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    async with session.post(completions(ports), data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_a_message_may_be_made_of_parts(
    ports: Mapping[str, int], session: aiohttp.ClientSession
) -> None:
    parts = [{"type": "text", "text": "two"}, {"type": "text", "text": "parts"}]
    asked = {"messages": [{"role": "user", "content": parts}]}
    async with session.post(completions(ports), json=asked) as answer:
        message = (await answer.json())["choices"][0]["message"]
    assert message["content"] == "You said: two parts"
