"""Programs of tools end with the gateway, and not after it."""

import asyncio
import os
from pathlib import Path

from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.policies.tools import CommandTool, ToolServer, Transport
from gateway.protocol.secrets import Secrets
from gateway.services.tools.command_tools import Order
from gateway.services.tools.open_programs import open_programs
from tests.children.programs import processes, until


def order(*argv: str) -> Order:
    tool = CommandTool("t", "", {"type": "object"}, argv)
    tools = ToolServer(Transport.COMMAND, tools=(tool,))
    return Order("fc", tools, tool, {}, "key1", "u1", {}, Secrets(), 30.0)


async def test_a_command_whose_caller_has_left_is_waited_for_at_the_end(tmp_path: Path) -> None:
    mark = os.urandom(8).hex()
    async with open_programs(ChildSettings(state_dir=tmp_path)) as programs:
        programs.launcher.isolation = Isolation.NONE
        running = asyncio.create_task(programs.commands.run(order("sh", "-c", "sleep 60", mark)))
        await until(lambda: len(processes(mark)) > 0)
        running.cancel()
    assert running.done() and processes(mark) == {}
