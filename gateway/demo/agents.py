"""Two small agents to try the gateway with: one echoes, one streams as OpenAI's models do."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from gateway.demo import chat, echo
from gateway.domain.settings import Address

ANY_PORT = Address("127.0.0.1", 0)
# A running stream must not hold up the end of the demo.
SHUTDOWN_SECONDS = 0.5


@asynccontextmanager
async def demo_agents(
    for_echo: Address = ANY_PORT, for_chat: Address = ANY_PORT
) -> AsyncIterator[Mapping[str, int]]:
    """Run the agents `echo` and `chat`, and yield their ports."""
    async with AsyncExitStack() as stack:
        yield {
            "echo": await stack.enter_async_context(_listening(echo.agent(), for_echo)),
            "chat": await stack.enter_async_context(_listening(chat.agent(), for_chat)),
        }


@asynccontextmanager
async def _listening(agent: web.Application, address: Address) -> AsyncIterator[int]:
    runner = web.AppRunner(agent, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
