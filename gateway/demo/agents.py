"""Two small agents to try the gateway with: one echoes, one streams as OpenAI's models do."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from gateway.demo import chat, echo

HOST = "127.0.0.1"
# A stream that still runs must not hold up the end of the demo.
SHUTDOWN_SECONDS = 0.5


@asynccontextmanager
async def demo_agents() -> AsyncIterator[Mapping[str, int]]:
    """The ports on which the agents `echo` and `chat` listen until the context ends."""
    async with AsyncExitStack() as stack:
        yield {
            "echo": await stack.enter_async_context(_listening(echo.agent())),
            "chat": await stack.enter_async_context(_listening(chat.agent())),
        }


@asynccontextmanager
async def _listening(agent: web.Application) -> AsyncIterator[int]:
    """`agent` on a free loopback port."""
    runner = web.AppRunner(agent, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
