"""Programs of tools end with the gateway, and not after it."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.policies.tools import CommandTool, Toolset, Transport
from gateway.protocol.secrets import Secrets
from gateway.services.tools.command_tools import LONGEST_TAIL, CommandCall
from gateway.services.tools.open_programs import open_programs
from tests.children.programs import processes
from tests.stalling import stall
from tests.until import until


def order(*argv: str, secrets: Secrets | None = None) -> CommandCall:
    tool = CommandTool("t", "", {"type": "object"}, argv)
    tools = Toolset(Transport.COMMAND, tools=(tool,))
    return CommandCall("fc", tools, tool, {}, "key1", "u1", {}, secrets or Secrets(), 30.0)


async def test_a_command_whose_caller_has_left_is_waited_for_at_the_end(tmp_path: Path) -> None:
    mark = os.urandom(8).hex()
    async with open_programs(ChildSettings(state_dir=tmp_path), lambda _: True) as programs:
        programs.launcher.isolation = Isolation.NONE
        running = asyncio.create_task(programs.commands.run(order("sh", "-c", "sleep 60", mark)))
        await until(lambda: len(processes(mark)) > 0)
        running.cancel()
    assert running.done() and processes(mark) == {}


async def test_what_is_cut_off_of_a_failure_takes_no_half_of_a_secret_with_it(
    tmp_path: Path,
) -> None:
    """The secret came in lines, and the last of what was printed begins in the midst of them."""
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"
    halves = secret[:18], secret[18:]
    printed = "\n".join(halves) + "." * (LONGEST_TAIL - 20)
    failing = order("sh", "-c", f"printf %s '{printed}'; exit 1", secrets=Secrets((("n", secret),)))
    async with open_programs(ChildSettings(state_dir=tmp_path), lambda _: True) as programs:
        programs.launcher.isolation = Isolation.NONE
        outcome = await programs.commands.run(failing)
    assert outcome.failed and secret[-8:] not in outcome.text
    assert outcome.seen == {b"[redacted:n]"}


async def test_a_command_that_ended_while_this_process_stalled_is_in_time(tmp_path: Path) -> None:
    mark = os.urandom(8).hex()
    brief = replace(order("sh", "-c", "sleep 0.2; echo ended", mark), seconds=0.5)
    async with open_programs(ChildSettings(state_dir=tmp_path), lambda _: True) as programs:
        programs.launcher.isolation = Isolation.NONE
        running = asyncio.create_task(programs.commands.run(brief))
        await until(lambda: len(processes(mark)) > 0)
        await stall(0.8)
        outcome = await running
    assert (outcome.failed, outcome.text) == (False, "ended\n")
