"""The agent of a soak: every kind of answer, and a look at each credential that arrives."""

import asyncio
from contextlib import suppress

from aiohttp import web

from tests.chaos.site import Agent

EVENTS = 8
CREDENTIAL, FIRST_VALUE = "soak_key", "soak-secret-0"
POLICIES = """\
version: 1
# {turn}
agents:
  a: {{upstream: '{url}'}}
  b: {{upstream: '{url}'}}
models:
  - {{name: m, provider: compatible, upstream: '{url}', credential: '${{credentials.soak_key}}'}}
services:
  s: {{upstream: '{url}', inject: {{headers: {{X-Token: '${{credentials.soak_key}}'}}}}}}
tools:
  t:
    transport: http
    upstream: '{url}/mcp'
    inject: {{headers: {{X-Token: '${{credentials.soak_key}}'}}}}
plans:
  few: {{agents: {{a: {{concurrency: 2}}}}}}
  turn: {{rate: {turn}/s}}
"""


class Backend(Agent):
    """`valid`: the values of the credential that may arrive; `strange`: how often another did."""

    def __init__(self) -> None:
        super().__init__()
        self.valid = {FIRST_VALUE}
        self.strange = 0
        self.app.router.add_post("/json", self.json)
        self.app.router.add_get("/events", self.events)
        self.app.router.add_get("/socket", self.socket)
        self.app.router.add_post("/chat/completions", self.chat)
        self.app.router.add_post("/mcp", self.tool)
        self.app.router.add_get("/whoami", self.whoami)

    async def json(self, request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    async def events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with suppress(ConnectionError):
            for number in range(EVENTS):
                await answer.write(b"data: %d\n\n" % number)
                await asyncio.sleep(0.25)
            await answer.write(b"data: done\n\n")
        return answer

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def chat(self, request: web.Request) -> web.Response:
        self._look(request.headers.get("Authorization", "").removeprefix("Bearer "))
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response({**told, "choices": [choice], "usage": usage})

    async def tool(self, request: web.Request) -> web.Response:
        value = request.headers.get("X-Token", "")
        self._look(value)
        asked = await request.json()
        result = {"content": [{"type": "text", "text": f"called with {value}"}]}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    async def whoami(self, request: web.Request) -> web.Response:
        value = request.headers.get("X-Token", "")
        self._look(value)
        return web.Response(text=f"called with {value}")

    def _look(self, value: str) -> None:
        self.strange += value not in self.valid
