"""Something to call: it speaks as models do where it is asked as one, and echoes all else."""

from typing import Any

from aiohttp import web

from gateway.demo import chat
from tests.flows.world import echo


def upstream() -> web.Application:
    made = chat.agent()
    made.router.add_post("/v1/messages", _messages)
    made.router.add_route("*", "/{path:.*}", echo)
    return made


async def _messages(request: web.Request) -> web.Response:
    """Anthropic's dialect, in one piece."""
    asked: dict[str, Any] = await request.json()
    said = f"You said: {asked['messages'][-1]['content']}"
    return web.json_response(
        {
            "id": "msg_demo",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "content": [{"type": "text", "text": said}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 5},
        }
    )
