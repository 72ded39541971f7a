"""`/models/…`: OpenAI's and Anthropic's own clients, with a key of the gateway and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

import openai
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.credentials import CredentialId, Version
from gateway.domain.keys.key import Key
from gateway.domain.settings import ListenerLimits, StoreSettings
from tests.flows.audit import come, records
from tests.flows.raw import exchange, read_answer
from tests.flows.services import Backend, backend, keep, put
from tests.flows.world import World, new_world
from tests.services.vaults import Vault

HELLO: Any = [{"role": "user", "content": "hello"}]


class Provider:
    """Both dialects, as far as clients read them. `status`: of every answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.status != 200:
            return web.json_response({"error": {"message": self.name}}, status=self.status)
        if request.path.endswith("/audio/transcriptions"):
            return web.json_response({"text": "heard"})
        asked = json.loads(body)
        if request.path.endswith("/messages"):
            text = [{"type": "text", "text": f"{self.name}: hello"}]
            usage = {"input_tokens": 1, "output_tokens": 2}
            told = {"id": "m", "type": "message", "role": "assistant", "content": text}
            rest = {"model": asked["model"], "stop_reason": "end_turn", "usage": usage}
            return web.json_response(told | rest, headers={"x-ratelimit-remaining-requests": "5"})
        if request.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            return web.json_response(
                {"object": "list", "model": asked["model"], "data": data, "usage": usage}
            )
        if asked.get("stream"):
            return await self._streamed(request, asked)
        message = {"role": "assistant", "content": f"{self.name}: hello"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            }
        )

    async def _streamed(self, request: web.Request, asked: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ("hel", "lo"):
            chunk = {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked["model"],
                "choices": [{"index": 0, "delta": {"content": word}}],
            }
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


POLICY = """version: 1
models:
  - {{name: gpt-4, upstream: "{one}/v1", credential: "${{credentials.openai_key}}",
      upstream_model: gpt-4-0613, fallback: [qwen-max]}}
  - {{name: qwen-max, upstream: "{two}/compatible/v1", credential: "${{credentials.qwen_key}}"}}
  - {{name: claude-x, upstream: "{two}", credential: "${{credentials.claude_key}}"}}
  - {{name: local, provider: compatible, upstream: "{one}"}}
"""


@pytest.fixture
async def one() -> AsyncIterator[Backend]:
    async with backend() as made:
        made.answer = Provider("one")
        yield made


@pytest.fixture
async def two() -> AsyncIterator[Backend]:
    async with backend() as made:
        made.answer = Provider("two")
        yield made


@pytest.fixture
async def key(world: World, one: Backend, two: Backend) -> Key:
    vault = Vault(world.client)
    for name in ("openai_key", "qwen_key", "claude_key"):
        await keep(world, vault, name, "api_key", value=f"secret-{name}")
    put(world, POLICY.format(one=one.url, two=two.url))
    return await world.issue("models/*")


@pytest.fixture
async def chat(world: World, key: Key) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{world.url}/models/v1"
    async with openai.AsyncOpenAI(api_key=key.text, base_url=url, max_retries=0) as client:
        yield client


async def test_openais_client_calls_a_model_with_the_gateways_own_secret(
    chat: openai.AsyncOpenAI, one: Backend, world: World
) -> None:
    answer = await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.choices[0].message.content == "one: hello"
    arrived = one.last
    assert (arrived.method, arrived.path) == ("POST", "/v1/chat/completions")
    assert arrived.headers["authorization"] == ["Bearer secret-openai_key"]
    assert json.loads(arrived.body) == {"model": "gpt-4-0613", "messages": HELLO}
    assert not any(name.startswith("x-gateway") for name in arrived.headers)
    (record,) = await records(world)
    assert (record["event"], record["agent"]) == ("credential.use", "models/gpt-4")


async def test_streams_and_embeddings_pass_too(chat: openai.AsyncOpenAI) -> None:
    stream = await chat.chat.completions.create(model="gpt-4", messages=HELLO, stream=True)
    words = [chunk.choices[0].delta.content async for chunk in stream]
    assert "".join(word or "" for word in words) == "hello"
    found = await chat.embeddings.create(model="qwen-max", input="x", encoding_format="float")
    assert found.data[0].embedding == [0.5]


async def test_anthropics_client_calls_its_own_dialect(
    world: World, key: Key, two: Backend
) -> None:
    # Not above: it takes a second and more to import, of each worker of the tests.
    import anthropic

    url = f"{world.url}/models/anthropic"
    async with anthropic.AsyncAnthropic(api_key=key.text, base_url=url, max_retries=0) as client:
        raw = await client.messages.with_raw_response.create(
            model="claude-x", max_tokens=9, messages=HELLO
        )
        assert raw.headers["x-ratelimit-remaining-requests"] == "5"
        (block,) = (await raw.parse()).content
        assert block.text == "two: hello"
        arrived = two.last
        assert arrived.path == "/v1/messages" and "authorization" not in arrived.headers
        assert arrived.headers["x-api-key"] == ["secret-claude_key"]
        assert arrived.headers["anthropic-version"]
        assert [model.id async for model in client.models.list()] == ["claude-x"]
        with pytest.raises(anthropic.NotFoundError, match="OpenAI's dialect"):
            await client.messages.create(model="gpt-4", max_tokens=9, messages=HELLO)


async def test_the_list_is_of_what_the_key_may_use(world: World, chat: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in chat.models.list()]
    assert names == ["gpt-4", "qwen-max", "claude-x", "local"]
    assert (await chat.models.retrieve("gpt-4")).id == "gpt-4"
    few = await world.issue("models/qwen-max", "agents/*")
    client = chat.with_options(api_key=few.text)
    assert [model.id async for model in client.models.list()] == ["qwen-max"]
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4")
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert denied.value.body["required_scope"] == "models/gpt-4:invoke"  # type: ignore[index]
    # Clients that show the sentence alone tell it too.
    assert "models/gpt-4:invoke" in denied.value.body["message"]  # type: ignore[index]


async def test_a_caller_is_known_before_its_body_is_read(
    world: World, chat: openai.AsyncOpenAI, one: Backend
) -> None:
    with pytest.raises(openai.AuthenticationError):
        await chat.with_options(api_key="agk_no").chat.completions.create(
            model="nothing", messages=HELLO
        )
    answer = await world.call(None, "/models/v1/chat/completions", "POST", data=b"no json")
    assert answer.code == "key_missing"
    with pytest.raises(openai.NotFoundError, match="no model"):
        await chat.chat.completions.create(model="nothing", messages=HELLO)
    assert one.arrived == []


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"model": 1}', '{"model": "a/b"}'])
async def test_a_body_without_a_model_is_refused(body: str, world: World, key: Key) -> None:
    headers = {"Content-Type": "application/json"}
    path = "/models/v1/chat/completions"
    answer = await world.call(key, path, "POST", headers=headers, data=body)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert (await world.call(key, path)).code == "method_not_allowed"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_where_a_model_cannot_answer_its_fallback_does(
    status: int, chat: openai.AsyncOpenAI, one: Backend, two: Backend
) -> None:
    provider = Provider("one")
    one.answer, provider.status = provider, status
    answer = await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.choices[0].message.content == "two: hello"
    assert two.last.path == "/compatible/v1/chat/completions"
    assert two.last.headers["authorization"] == ["Bearer secret-qwen_key"]
    assert json.loads(two.last.body)["model"] == "qwen-max"
    assert "secret-openai_key" not in str(two.last.headers)


async def test_so_it_is_where_it_cannot_be_reached_and_the_last_ones_answer_is_told(
    world: World, chat: openai.AsyncOpenAI, one: Backend, two: Backend
) -> None:
    put(world, POLICY.format(one="http://127.0.0.1:9", two=two.url))
    answer = await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.choices[0].message.content == "two: hello"
    provider = Provider("two")
    two.answer, provider.status = provider, 503
    with pytest.raises(openai.InternalServerError, match="two"):
        await chat.chat.completions.create(model="gpt-4", messages=HELLO)


async def test_a_call_goes_by_the_policies_that_it_began_under_however_late_its_body_comes(
    world: World, key: Key, one: Backend, two: Backend
) -> None:
    provider = Provider("one")
    one.answer, provider.status = provider, 503
    body = json.dumps({"model": "gpt-4", "messages": HELLO}).encode()
    lines = (
        *("POST /models/v1/chat/completions HTTP/1.1", "Host: x", f"X-API-Key: {key.text}"),
        *("Content-Type: application/json", f"Content-Length: {len(body)}"),
        *("Expect: 100-continue", "", ""),
    )
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write("\r\n".join(lines).encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        renamed = POLICY.replace("qwen-max", "qwen-plus")
        put(world, renamed.format(one=one.url, two=two.url))
        writer.write(body)
        answer = await read_answer(reader)
    assert answer.status == 200 and b"two: hello" in answer.body


async def test_so_it_is_where_its_credential_cannot_be_had(
    world: World, chat: openai.AsyncOpenAI, one: Backend, two: Backend
) -> None:
    policy = POLICY.format(one=one.url, two=two.url).replace("openai_key", "no_such_key")
    put(world, policy)
    answer = await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    assert answer.choices[0].message.content == "two: hello"
    assert two.last.headers["authorization"] == ["Bearer secret-qwen_key"]
    put(world, policy.replace("qwen_key", "nor_this_one"))
    with pytest.raises(openai.InternalServerError) as refused:
        await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    assert (refused.value.status_code, refused.value.code) == (503, "credential_unavailable")
    assert one.arrived == [] and len(two.arrived) == 1


async def test_so_it_is_where_as_many_wait_for_it_as_may(
    store: StoreSettings, client: Redis, one: Backend, two: Backend
) -> None:
    release = asyncio.Event()

    async def hang(request: web.Request, body: bytes) -> web.StreamResponse:
        await release.wait()
        return await Provider("one")(request, body)

    one.answer = hang
    body = json.dumps({"model": "gpt-4", "messages": HELLO})
    limits = ListenerLimits(max_connections=4)
    async with new_world(store, client, limits=limits) as world, asyncio.timeout(30):
        for name in ("openai_key", "qwen_key", "claude_key"):
            await keep(world, Vault(client), name, "api_key", value=f"secret-{name}")
        put(world, POLICY.format(one=one.url, two=two.url))
        key = await world.issue("models/*")
        asked = partial(world.call, key, "/models/v1/chat/completions", "POST", data=body)
        headers = {"Content-Type": "application/json"}
        calls = {asyncio.create_task(asked(headers=headers)) for _ in range(3)}
        (first,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        release.set()
        told = [first.result(), *[await one for one in waiting]]
    names = [answer.json["choices"][0]["message"]["content"] for answer in told]
    assert names == ["two: hello", "one: hello", "one: hello"]


@pytest.mark.parametrize("other", ["qwen_key", "no_such_key"])
async def test_a_decoy_in_place_of_its_credential_is_told_of_whoever_answers(
    world: World, chat: openai.AsyncOpenAI, one: Backend, two: Backend, other: str
) -> None:
    await Vault(world.client).write("gold_key", type="canary", current=Version(1, {"value": "no"}))
    async with asyncio.timeout(15):
        while not world.gateways[0].base.credentials.is_decoy(CredentialId("gold_key")):
            await asyncio.sleep(0.02)
    policy = POLICY.format(one=one.url, two=two.url).replace("openai_key", "gold_key")
    put(world, policy.replace("qwen_key", other))
    with suppress(openai.InternalServerError):
        await chat.chat.completions.create(model="gpt-4", messages=HELLO)
    (told,) = await come(world, "canary.credential", 1)
    assert told["credentials"] == [{"name": "gold_key", "version": 0}]
    assert one.arrived == [] and len(two.arrived) == (other == "qwen_key")


async def test_a_call_is_charged_once_whatever_falls_back(
    world: World, chat: openai.AsyncOpenAI, one: Backend, two: Backend
) -> None:
    put(world, POLICY.format(one="http://127.0.0.1:9", two=two.url) + "plans: {p: {quota: 5/d}}\n")
    client = chat.with_options(api_key=(await world.issue("models/*", plan="p")).text)
    for _ in range(3):
        assert [model.id async for model in client.models.list()]
    for _ in range(2):
        await client.chat.completions.create(model="gpt-4", messages=HELLO)
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="gpt-4", messages=HELLO)


async def test_a_model_without_a_secret_gets_none(chat: openai.AsyncOpenAI, one: Backend) -> None:
    await chat.chat.completions.create(model="local", messages=HELLO)
    assert one.last.path == "/chat/completions" and "authorization" not in one.last.headers


async def test_an_upload_goes_by_the_model_in_its_form(
    chat: openai.AsyncOpenAI, one: Backend
) -> None:
    sound = bytes(range(256)) * 1000
    heard = await chat.audio.transcriptions.create(
        model="gpt-4", file=("sound.wav", sound), language="en"
    )
    assert heard.text == "heard"
    arrived = one.last
    assert arrived.headers["authorization"] == ["Bearer secret-openai_key"]
    assert arrived.body.count(b'name="model"') == 1 and b"\r\n\r\ngpt-4-0613\r\n" in arrived.body
    assert sound in arrived.body and b'name="language"' in arrived.body


FORM = "multipart/form-data; boundary=b"
PART = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{}\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, PART.format("qwen-max") + PART.format("gpt-4") + "--b--\r\n"),
        (FORM, PART.format("qwen-max") + PART.replace("mod", "Mod").format("gpt-4") + "--b--\r\n"),
        (FORM, PART.format("qwen-max")),
        (FORM, PART.format("qwen-max").replace("\r\n", "\n") + "--b--\n"),
        (FORM, PART.format("qwen-max\n--b\nx") + "--b--\r\n"),
        (FORM, PART.format("qwen-max").replace("name=", "name*=") + "--b--\r\n"),
        (FORM, PART.format("qwen-max").replace("name=", 'name="x"; name=') + "--b--\r\n"),
        (FORM, "preamble" + PART.format("qwen-max") + "--b--\r\n"),
        (FORM + "; boundary=c", PART.format("qwen-max") + "--b--\r\n"),
        (FORM, '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'),
    ],
)
async def test_a_form_that_can_be_read_in_two_ways_is_refused(
    kind: str, body: str, world: World, key: Key, one: Backend, two: Backend
) -> None:
    path = "/models/v1/audio/transcriptions"
    headers = {"Content-Type": kind}
    answer = await world.call(key, path, "POST", headers=headers, data=body.encode())
    assert (answer.status, answer.code) == (400, "bad_request")
    assert one.arrived == two.arrived == []
    fine = PART.format("qwen-max") + "--b--\r\n"
    answer = await world.call(key, path, "POST", headers={"Content-Type": FORM}, data=fine.encode())
    assert answer.status == 200 and two.last.body == fine.encode()


@pytest.mark.parametrize("body", [b"", b"--b", b"--b--", b"--b--\r\n", b"\r\n"])
async def test_a_form_of_nothing_is_refused(body: bytes, world: World, key: Key) -> None:
    headers = {"Content-Type": FORM}
    path = "/models/v1/audio/transcriptions"
    answer = await world.call(key, path, "POST", headers=headers, data=body)
    assert (answer.status, answer.code) == (400, "bad_request")


ODD = """agents:
  odd: {upstream: "http://127.0.0.1:9", paths: {allow: ["//", ";", "\\\\", "%2F"]}}
"""


@pytest.mark.parametrize(
    "path",
    [
        "/models/v1//chat/completions",
        "/models//v1/chat/completions",
        "/models/v1/chat%2fcompletions",
        "/models/v1/chat/completions;x",
        "/models/v1/chat\\completions",
        "/connect//x",
    ],
)
async def test_a_path_that_readers_take_differently_is_refused_whatever_agents_allow(
    path: str, world: World, key: Key, one: Backend, two: Backend
) -> None:
    put(world, POLICY.format(one=one.url, two=two.url) + ODD)
    body = b'{"model": "gpt-4"}'
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert (await exchange(world.address, head + body)).code == "bad_request"
    assert one.arrived == []


@pytest.mark.parametrize("path", ["/models/v1beta/chat", "/models/v1-admin", "/models/v2/x"])
async def test_no_path_leads_out_of_the_one_that_a_provider_is_called_under(
    path: str, world: World, key: Key, one: Backend
) -> None:
    headers = {"Content-Type": "application/json"}
    await world.call(key, path, "POST", headers=headers, data=b'{"model": "gpt-4"}')
    assert all(arrived.path.startswith("/v1/") for arrived in one.arrived)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-7",
        "application/x+json",
    ],
)
async def test_what_was_read_as_json_is_sent_as_json(
    kind: str | None, world: World, key: Key, one: Backend
) -> None:
    body = b'{"model": "gpt-4", "x": "&model=other&"}'
    lines = f"Content-Type: {kind}\r\n" if kind else ""
    lines += "Content-Encoding: gzip\r\n"
    head = (
        f"POST /models/v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n"
        f"{lines}Content-Length: {len(body)}\r\n\r\n"
    )
    assert (await exchange(world.address, head.encode() + body)).status == 200
    assert one.last.headers["content-type"] == ["application/json"]
    assert "content-encoding" not in one.last.headers


@pytest.mark.parametrize(
    "path",
    [
        "v1/batches",
        "v1/fine_tuning/jobs",
        "v1/organization/admin_api_keys",
        "v1/load_lora_adapter",
        "v1/deployments/dear/chat/completions",
        "v1/Chat/Completions",
        "anthropic/v1/messages/batches",
    ],
)
async def test_a_scope_for_one_model_does_nothing_else_with_the_providers_secret(
    path: str, world: World, key: Key, one: Backend
) -> None:
    """There the body's model decides nothing: a batch has models of its own, a key all of them."""
    body = json.dumps({"model": "gpt-4", "requests": [{"params": {"model": "dear"}}]}).encode()
    refused = await world.call(key, f"/models/{path}", "POST", data=body)
    assert (refused.status, refused.code) == (404, "not_found")
    assert one.arrived == []


OTHERS = [
    {"fallbacks": [{"model": "qwen-max"}]},
    {"models": ["qwen-max"]},
    {"tools": [{"type": "image_generation", "model": "qwen-max"}]},
]


@pytest.mark.parametrize("others", OTHERS, ids=["fallbacks", "models", "tools"])
async def test_a_scope_for_one_model_is_none_for_others_that_the_body_names(
    others: dict[str, Any], world: World, key: Key, one: Backend
) -> None:
    path = "/models/v1/chat/completions"
    body = json.dumps({"model": "local", **others})
    mine = await world.issue("models/local")
    refused = await world.call(mine, path, "POST", data=body)
    assert (refused.status, refused.code) == (403, "scope_denied")
    assert refused.json["error"]["required_scope"] == "models/qwen-max:invoke"
    for name in ("nothing", "gpt-4"):
        # The provider knows what is renamed here by another name, or as another model.
        refused = await world.call(key, path, "POST", data=body.replace("qwen-max", name))
        assert (refused.status, refused.code) == (404, "not_found")
    refused = await world.call(key, f"{path}?model=qwen-max", "POST", data=body)
    assert (refused.status, refused.code) == (400, "bad_request")
    assert one.arrived == []
    both = await world.issue("models/local", "models/qwen-max")
    assert (await world.call(both, f"{path}?api-version=1", "POST", data=body)).status == 200
    assert json.loads(one.last.body) == {"model": "local", **others}


async def test_what_is_no_call_of_a_model_is_refused_before_its_body_is_read(
    world: World, key: Key
) -> None:
    head = (
        f"POST /models/v1/files HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n"
    )
    refused = await exchange(world.address, head.encode())
    assert refused.status == 404
    assert b"No model is called at this path: calls go to" in refused.body


async def test_the_list_is_not_told_on_behalf_of_somebody_whom_the_key_may_not_act_for(
    world: World, key: Key
) -> None:
    mine = await world.issue("models/*", users=("u1",))
    path = "/models/v1/models"
    assert (await world.call(mine, path, headers={"X-User-Id": "u1"})).status == 200
    assert (await world.call(mine, path, headers={"X-User-Id": "u2"})).code == "user_denied"


async def test_the_list_counts_as_every_request_does(world: World, key: Key) -> None:
    mine = await world.issue("models/*", limits="rate=1/h burst=2 concurrency=1")
    told = [await world.call(mine, f"/models/v1/models{rest}") for rest in ("", "/gpt-4")]
    assert [answer.status for answer in told] == [200, 200]
    left = [answer.headers["RateLimit"].partition(";t")[0] for answer in told]
    assert left == ['"rate";r=1', '"rate";r=0']
    assert (await world.call(mine, "/models/v1/models/none")).code == "not_found"
    assert (await world.call(mine, "/models/v1/models")).code == "rate_limited"
    nothing = await world.issue("agents/*")
    assert (await world.call(nothing, "/models/v1/models")).json["data"] == []
