"""The demo's agents without a gateway: `python -m gateway.demo 0.0.0.0:9101 0.0.0.0:9102`."""

import asyncio
import signal
import sys

from gateway.demo.agents import demo_agents
from gateway.domain.settings import Address, parse_address


async def main(*addresses: Address) -> None:
    """Serve until SIGTERM. The handler is needed in a container, whose first process ignores
    signals without one."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with demo_agents(*addresses) as ports:
        sys.stdout.write(f"{ports}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    try:
        echo, chat = map(parse_address, sys.argv[1:])
    except ValueError as problem:
        sys.exit(f"{problem}; give two, for the agents echo and chat.")
    asyncio.run(main(echo, chat))
