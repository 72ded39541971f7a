"""Tokens of models: counted by what answers say they took, and limited by plans."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.domain.keys.key import Key
from gateway.domain.usage import EVERYTHING, By, Counts, Step
from gateway.services.telemetry.usage_reports import reached, totals
from gateway.store.usage import UsageStore
from tests.flows.agents import agent_that
from tests.flows.raw import exchange
from tests.flows.services import Backend, backend, keep, put
from tests.flows.world import World
from tests.services.vaults import Vault

HELLO: Any = [{"role": "user", "content": "hello"}]
POLICY = """version: 1
models:
  - {{name: gpt-4, upstream: "{url}/v1", credential: "${{credentials.openai_key}}",
      fallback: [gpt-5]}}
  - {{name: gpt-5, upstream: "{url}/v1", credential: "${{credentials.openai_key}}"}}
  - {{name: claude-x, upstream: "{url}", credential: "${{credentials.openai_key}}"}}
agents:
  helper: {{upstream: "{url}"}}
plans:
  few: {{tokens: [100/d, 1000/month], quota: 1000/d}}
  plenty: {{tokens: 1000000/d}}
"""


class Talker:
    """Both dialects. `told`: the tokens of each answer, None: it does not say. `before`: what a
    stream waits for before its head. `pause`: in its middle."""

    def __init__(self) -> None:
        self.told: int | None = 30
        self.before: Callable[[], Awaitable[object]] | None = None
        self.pause: Callable[[], Awaitable[object]] | None = None
        self.ended = asyncio.Event()
        self.asked: list[Any] = []
        self.broken: set[str] = set()

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        called = request.path.lower().rstrip("/")
        if not called.endswith(("/completions", "/messages", "/embeddings")):
            return web.json_response({"fine": True})
        asked = json.loads(body)
        self.asked.append(asked)
        if asked["model"] in self.broken:
            return web.json_response({"error": {}}, status=500)
        if asked.get("stream"):
            return await self._streamed(request, asked)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"]}
        return web.json_response({**answer, "choices": [choice], **self._usage()})

    def _usage(self) -> dict[str, Any]:
        if self.told is None:
            return {}
        parts = {"prompt_tokens": 10, "completion_tokens": self.told - 10}
        return {"usage": parts | {"total_tokens": self.told}}

    async def _streamed(self, request: web.Request, asked: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if self.before is not None:
            await self.before()
        await response.prepare(request)
        anthropics = request.path.endswith("/messages")
        try:
            events = self._anthropics(asked) if anthropics else self._openais(asked)
            for number, event in enumerate(events):
                if number == 2 and self.pause is not None:
                    await self.pause()
                # In pieces that end anywhere.
                await response.write(event[:7])
                await response.write(event[7:])
        finally:
            self.ended.set()
        return response

    def _openais(self, asked: Any) -> list[bytes]:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        words = [chunk | {"choices": [{"index": 0, "delta": {"content": word}}]} for word in "abcd"]
        if asked.get("stream_options", {}).get("include_usage"):
            words.append(chunk | {"choices": []} | self._usage())
        return [f"data: {json.dumps(word)}\n\n".encode() for word in words] + [b"data: [DONE]\n\n"]

    def _anthropics(self, asked: Any) -> list[bytes]:
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m"}
        begin = {"input_tokens": 5, "cache_read_input_tokens": 5, "output_tokens": 1}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message | {"usage": begin}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "hello"},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": (self.told or 0) - 10},
            },
            {"type": "message_stop"},
        ]
        return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


@pytest.fixture
async def talker() -> Talker:
    return Talker()


@pytest.fixture
async def provider(world: World, talker: Talker) -> AsyncIterator[Backend]:
    async with backend() as made:
        made.answer = talker
        await keep(world, Vault(world.client), "openai_key", "api_key", value="secret-of-provider")
        put(world, POLICY.format(url=made.url))
        yield made


@pytest.fixture
async def key(world: World, provider: Backend) -> Key:
    return await world.issue("models/*", "agents/*", plan="few")


@pytest.fixture
async def chat(world: World, key: Key) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{world.url}/models/v1"
    async with openai.AsyncOpenAI(api_key=key.text, base_url=url, max_retries=0) as client:
        yield client


async def charged(world: World, key: Key, window: str = "day") -> int:
    value = await world.client.get(f"{world.store.prefix}quota:{{{key.id}}}:tokens:{window}")
    return int(value or 0)


async def comes_to(count: Callable[[], Awaitable[int]], wanted: int) -> None:
    ends = time.monotonic() + 15
    while (found := await count()) != wanted and time.monotonic() < ends:
        await asyncio.sleep(0.02)
    assert found == wanted


async def used(world: World, by: By, name: str) -> Counts:
    store = UsageStore(world.client, world.store.prefix)
    found = await totals(store, by, Step.DAY, time.time() - 86_400, time.time())
    return found.get(name, Counts())


async def asks(chat: openai.AsyncOpenAI, model: str = "gpt-4") -> None:
    await chat.chat.completions.create(model=model, messages=HELLO)


async def test_an_answer_costs_what_it_says(
    world: World, chat: openai.AsyncOpenAI, key: Key
) -> None:
    await asks(chat)
    for window in ("day", "month"):
        await comes_to(lambda window=window: charged(world, key, window), 30)
    assert await world.client.pttl(f"{world.store.prefix}quota:{{{key.id}}}:tokens:day") > 0


async def test_a_key_is_let_in_while_it_has_used_less_than_its_limit(
    world: World, chat: openai.AsyncOpenAI, key: Key
) -> None:
    for number in range(1, 5):
        await asks(chat)
        await comes_to(lambda number=number: charged(world, key), 30 * number)
    with pytest.raises(openai.RateLimitError) as refused:
        await asks(chat)
    assert refused.value.code == "quota_exhausted"
    assert "The quota of this key, 100 tokens each day, is used up." in str(refused.value)
    headers = refused.value.response.headers
    assert int(headers["retry-after"]) > 0
    assert headers["x-should-retry"] == "false"
    assert "token" not in headers["ratelimit-policy"] + headers["ratelimit"]
    # Refused, it costs nothing: also none of the requests of its other quota.
    assert '"day";r=996' in headers["ratelimit"]
    # What is no model takes no tokens.
    answer = await world.call(key, "/agents/helper/x")
    assert answer.status == 200


async def test_a_stream_is_counted_though_the_caller_did_not_ask_for_its_usage(
    world: World, chat: openai.AsyncOpenAI, key: Key, talker: Talker
) -> None:
    stream = await chat.chat.completions.create(model="gpt-4", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "abcd"
    assert all(chunk.usage is None for chunk in chunks)
    assert talker.asked[0]["stream_options"] == {"include_usage": True}
    await comes_to(lambda: charged(world, key), 30)


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/chat/completions", '"str\\u0065am": true'),
        ("/chat/completions", '"stream": 1'),
        ("/chat/completions", '"stream": true, "stream_options": {"include_usage": "false"}'),
        ("/chat/completions", '"stream": true, "stream_options": []'),
        ("/chat/completions/", '"stream": true'),
    ],
)
async def test_no_spelling_of_a_stream_escapes_its_count(
    path: str, stream: str, world: World, key: Key, talker: Talker
) -> None:
    body = f'{{"model": "gpt-4", "messages": [], {stream}}}'.encode()
    head = (
        f"POST /models/v1{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await exchange(world.address, head.encode() + body)
    assert b"abcd" not in answer.body and answer.body.count(b"data:") == 5
    await comes_to(lambda: charged(world, key), 30)


async def test_a_caller_who_asks_for_the_usage_of_a_stream_gets_it(
    world: World, chat: openai.AsyncOpenAI, key: Key
) -> None:
    stream = await chat.chat.completions.create(
        model="gpt-4", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 30
    await comes_to(lambda: charged(world, key), 30)


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_messages_are_counted_with_what_came_from_the_cache(
    world: World, key: Key, talker: Talker, stream: bool
) -> None:
    # Not above: it takes a second and more to import, of each worker of the tests.
    import anthropic

    async with anthropic.AsyncAnthropic(
        api_key=key.text, base_url=f"{world.url}/models/anthropic", max_retries=0
    ) as client:
        if stream:
            async with client.messages.stream(
                model="claude-x", max_tokens=9, messages=HELLO
            ) as events:
                assert await events.get_final_text() == "hello"
        else:
            await client.messages.create(model="claude-x", max_tokens=9, messages=HELLO)
    await comes_to(lambda: charged(world, key), 30)


async def test_of_models_that_fall_back_the_one_that_answers_is_counted_once(
    world: World, chat: openai.AsyncOpenAI, key: Key, talker: Talker
) -> None:
    talker.broken.add("gpt-4")
    await asks(chat)
    await comes_to(lambda: charged(world, key), 30)
    await comes_to(lambda: tokens_of(world, "models/gpt-5"), 30)
    assert await tokens_of(world, "models/gpt-4") == 0


async def tokens_of(world: World, agent: str) -> int:
    return (await used(world, By.AGENT, agent)).tokens


@pytest.mark.parametrize("where", ["before", "pause"])
async def test_what_callers_leave_is_read_to_its_end_for_its_usage(
    world: World, key: Key, talker: Talker, provider: Backend, where: str
) -> None:
    """Before the answer's head, and in the middle of its stream."""
    goes_on = asyncio.Event()
    setattr(talker, where, goes_on.wait)
    await left_early(world, key, talker)
    assert await charged(world, key) == 0
    goes_on.set()
    await comes_to(lambda: charged(world, key), 30)
    assert (await used(world, By.CONSUMER, "sales")).estimated == 0


async def test_what_a_provider_told_before_it_closed_counts_though_the_caller_left_meanwhile(
    world: World, talker: Talker
) -> None:
    """It was received, and nobody had read it yet."""
    left: list[asyncio.StreamWriter] = []
    begun = asyncio.Event()

    async def close_while_the_caller_leaves(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b'"hello"')
        first, *rest = talker._openais({"stream_options": {"include_usage": True}})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + first)
        await begun.wait()
        writer.write(b"".join(rest))
        writer.close()
        left[0].transport.abort()

    async with agent_that(close_while_the_caller_leaves) as upstream:
        await keep(world, Vault(world.client), "openai_key", "api_key", value="secret-of-provider")
        put(world, POLICY.format(url=f"http://127.0.0.1:{upstream.port}"))
        key = await world.issue("models/*", plan="few")
        body = json.dumps({"model": "gpt-4", "stream": True, "messages": HELLO}).encode()
        head = (
            f"POST /models/v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(*world.address)
        left.append(writer)
        writer.write(head.encode() + body)
        await asyncio.wait_for(reader.readuntil(b"data: "), 15)
        begun.set()
        await comes_to(lambda: charged(world, key), 30)


async def test_what_is_never_told_is_guessed_and_marked(
    world: World, key: Key, talker: Talker, provider: Backend
) -> None:
    talker.told = None
    async with openai.AsyncOpenAI(
        api_key=key.text, base_url=f"{world.url}/models/v1", max_retries=0
    ) as chat:
        await asks(chat)

    async def guessed() -> bool:
        counts = await used(world, By.AGENT, "models/gpt-4")
        return counts.tokens > 10 and counts.estimated == counts.tokens

    ends = time.monotonic() + 15
    while not await guessed() and time.monotonic() < ends:
        await asyncio.sleep(0.02)
    assert await guessed()
    assert await charged(world, key) == (await used(world, By.AGENT, "models/gpt-4")).tokens


async def left_early(world: World, key: Key, talker: Talker) -> None:
    """Once the answer has begun, or, where that waits, once it was asked for."""
    body = json.dumps({"model": "gpt-4", "messages": HELLO, "stream": True}).encode()
    reader, writer = await asyncio.open_connection(*world.address)
    writer.write(
        b"POST /models/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
        b"\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (key.text.encode(), len(body), body)
    )
    async with asyncio.timeout(15):
        if talker.before is None:
            await reader.readuntil(b"data: ")
        while not talker.asked:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while world.gateways[0].data.connections:
            await asyncio.sleep(0.01)


async def test_what_many_take_together_is_counted_to_the_token(
    world: World, provider: Backend, talker: Talker
) -> None:
    key = await world.issue("models/*", plan="plenty", consumer="many")
    async with openai.AsyncOpenAI(
        api_key=key.text, base_url=f"{world.url}/models/v1", max_retries=0
    ) as chat:
        await asyncio.gather(*(asks(chat) for _ in range(60)))
        for _ in range(10):
            async for _ in await chat.chat.completions.create(
                model="gpt-5", messages=HELLO, stream=True
            ):
                pass
    await comes_to(lambda: charged(world, key), 70 * 30)
    await comes_to(lambda: tokens_by(world, "many"), 70 * 30)
    # Requests and their tokens are told one after the other.
    await comes_to(lambda: requests_by(world, "many"), 70)
    counts = await used(world, By.CONSUMER, "many")
    assert (counts.prompt, counts.completion, counts.requests) == (700, 1400, 70)
    store = UsageStore(world.client, world.store.prefix)
    found = await reached(store, key.id, time.time(), time.time())
    assert {name: one.requests for name, one in found.items()} == {
        "models/gpt-4": 60,
        "models/gpt-5": 10,
    }


async def tokens_by(world: World, consumer: str) -> int:
    return (await used(world, By.CONSUMER, consumer)).tokens


async def requests_by(world: World, consumer: str) -> int:
    return (await used(world, By.CONSUMER, consumer)).requests


async def test_refusals_are_counted_by_their_code(world: World, provider: Backend) -> None:
    key = await world.issue("models/other", consumer="outsider")
    for _ in range(3):
        answer = await world.call(key, "/agents/helper/x")
        assert answer.code == "scope_denied"

    async def denied() -> int:
        return (await used(world, By.CODE, "scope_denied")).denied

    await comes_to(denied, 3)
    assert (await used(world, By.CONSUMER, "outsider")).denied == 3
    assert (await used(world, By.ALL, EVERYTHING)).requests == 3


async def test_what_no_call_can_take_is_not_believed(
    world: World, chat: openai.AsyncOpenAI, key: Key, talker: Talker
) -> None:
    """Counters would overflow, and what is counted after it would not be written any more."""
    talker.told = 2**64 - 1
    await asks(chat)
    talker.told = 30
    await asks(chat, "gpt-5")
    await comes_to(lambda: tokens_of(world, "models/gpt-5"), 30)
    assert await tokens_of(world, "models/gpt-4") == 10, "the prompt is believed"
    await comes_to(lambda: charged(world, key), 40)
