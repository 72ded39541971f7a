"""An agent that speaks OpenAI's chat completions API, without a model behind it."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from aiohttp import web

# Slow enough for people to see that it is a stream.
PAUSE_SECONDS = 0.05
MODEL = "demo"
MAX_BODY = 2**20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed request. `words`: the words of the answer."""

    model: str
    stream: bool
    usage_wanted: bool
    words: tuple[str, ...]
    prompt_words: int

    @property
    def usage(self) -> Json:
        """The token counts; here a word is a token."""
        answered = len(self.words)
        return {
            "prompt_tokens": self.prompt_words,
            "completion_tokens": answered,
            "total_tokens": self.prompt_words + answered,
        }


def agent() -> web.Application:
    made = web.Application(client_max_size=MAX_BODY)
    made.router.add_get("/v1/models", _models)
    made.router.add_post("/v1/chat/completions", _completions)
    return made


async def _models(_: web.Request) -> web.Response:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "gateway-demo"}
    return web.json_response({"object": "list", "data": [model]})


async def _completions(request: web.Request) -> web.StreamResponse:
    try:
        asked = read_request(await request.json())
    except ValueError as problem:
        return _refusal(str(problem))
    if not asked.stream:
        return web.json_response(completion(asked))
    return await _stream(request, asked)


async def _stream(request: web.Request, asked: Asked) -> web.StreamResponse:
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await answer.prepare(request)
    for chunk in chunks(asked):
        await answer.write(b"data: %b\n\n" % json.dumps(chunk).encode())
        await asyncio.sleep(PAUSE_SECONDS)
    await answer.write(b"data: [DONE]\n\n")
    return answer


def _refusal(message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=400)


def read_request(body: Any) -> Asked:
    """Parse the body; ValueError says what is wrong with it."""
    if not isinstance(body, dict):
        raise ValueError("The body must be a JSON object.")
    messages = body.get("messages")
    if not (isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)):
        raise ValueError(
            "'messages' must be a list of messages, such as "
            '[{"role": "user", "content": "hello"}].'
        )
    said = [_text(message.get("content")) for message in messages]
    options = body.get("stream_options")
    return Asked(
        model=str(body.get("model") or MODEL),
        stream=body.get("stream") is True,
        usage_wanted=isinstance(options, dict) and options.get("include_usage") is True,
        words=tuple(f"You said: {said[-1]}".split()),
        prompt_words=sum(len(text.split()) for text in said),
    )


def completion(asked: Asked) -> Json:
    """Return the complete answer."""
    message = {"role": "assistant", "content": " ".join(asked.words), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_envelope(asked, "chat.completion"), "choices": [choice], "usage": asked.usage}


def chunks(asked: Asked) -> Iterator[Json]:
    """Yield the chunks of a streamed answer, one word each."""
    envelope = _envelope(asked, "chat.completion.chunk")
    if asked.usage_wanted:
        envelope["usage"] = None
    yield {**envelope, "choices": [_piece({"role": "assistant", "content": ""})]}
    for number, word in enumerate(asked.words):
        yield {**envelope, "choices": [_piece({"content": f" {word}" if number else word})]}
    yield {**envelope, "choices": [_piece({}, "stop")]}
    if asked.usage_wanted:
        yield {**envelope, "choices": [], "usage": asked.usage}


def _envelope(asked: Asked, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
    }


def _piece(delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _text(content: Any) -> str:
    """Return a message's text, whether its content is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(p["text"]) for p in parts if isinstance(p, dict) and "text" in p)
