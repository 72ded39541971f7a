"""Commands as tools: one child process per call, whose output is the answer."""

import asyncio
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from gateway.children.process import Child, Launcher
from gateway.domain.children import Program
from gateway.domain.command_line import placeholders, rendered
from gateway.domain.errors import OperationError
from gateway.domain.policies.tools import CommandTool, Toolset, program_owner
from gateway.log import log
from gateway.protocol.mcp.rpc_scrub import Search
from gateway.protocol.secrets import Secrets
from gateway.services.tools.program_slots import ProgramSlots
from gateway.services.tools.stderr import ToolStderr
from gateway.timers import timeout

# The last part of what a failed command printed.
LONGEST_TAIL = 4_096
_PIECE = 2**16


@dataclass(frozen=True, slots=True)
class CommandCall:
    """One call of a command. `arguments`: the caller's, which fit the tool's schema; `seconds`: how
    long it may take."""

    server: str
    tools: Toolset
    tool: CommandTool
    arguments: Mapping[str, Any] = field(repr=False)
    key_id: str
    user: str
    env: Mapping[str, str] = field(repr=False)
    secrets: Secrets = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What the caller is told about a command, without secrets. `seen`: the placeholders of the
    secrets that the command printed."""

    text: str = field(repr=False)
    failed: bool
    seen: Set[bytes] = frozenset()


class CommandTools:
    """Runs commands, each isolated from all others."""

    def __init__(self, launcher: Launcher, slots: ProgramSlots) -> None:
        self._launcher = launcher
        self._slots = slots

    async def run(self, order: CommandCall) -> CommandResult:
        """Run a command from start to end. If the caller is cancelled, the command and everything
        that it started is ended. Denied if there is no free slot."""
        try:
            argv = rendered(order.tool.argv, order.arguments, order.tool.input)
        except ValueError as problem:
            return CommandResult(str(problem), failed=True)
        terms = order.tools.program
        owner = program_owner(order.server, order.user, order.key_id)
        named = tuple(item for item in order.tool.argv if not any(placeholders([item])))
        program = Program(tuple(argv), owner, order.env, terms.limits, terms.readable, named)
        await self._slots.acquire()
        try:
            return await self._run(order, program)
        finally:
            self._slots.release()

    async def _run(self, order: CommandCall, program: Program) -> CommandResult:
        try:
            child = await self._launcher.start(program)
        except OperationError as problem:
            log.warning("tool_not_started", tool=order.server, reason=str(problem))
            return CommandResult("The command cannot be started.", failed=True)
        child.stdin.close()
        stderr = ToolStderr(order.server, order.secrets, LONGEST_TAIL)
        reading = asyncio.create_task(stderr.read(child.stderr))
        printed: bytes | None = b""
        late = False
        try:
            async with timeout(order.seconds):
                printed = await _read_stdout(child, order.tools.program.output)
                await child.wait()
        except TimeoutError:
            late = True
        finally:
            child.kill()
            code, _, _ = await asyncio.gather(child.wait(), child.discard(), reading)
        return _result(order, code, printed, stderr, late=late)


async def _read_stdout(child: Child, most: int) -> bytes | None:
    """Return all of its stdout; None if that is longer than `most`, and end the child."""
    found = bytearray()
    while piece := await child.stdout.read(_PIECE):
        found += piece
        if len(found) > most:
            child.kill()
            await child.discard()
            return None
    return bytes(found)


def _result(
    order: CommandCall, code: int, printed: bytes | None, stderr: ToolStderr, *, late: bool
) -> CommandResult:
    if late:
        return CommandResult(
            f"The command did not end within {order.seconds:g} s.", True, stderr.seen
        )
    if printed is None:
        most = order.tools.program.output
        return CommandResult(f"The command printed more than {most} bytes.", True, stderr.seen)
    # Before anything is cut off: half a secret would not be found.
    search = None if order.secrets.known is None else Search(order.secrets.known)
    shown = printed if search is None else search.text(printed)
    seen = stderr.seen if search is None else stderr.seen | search.seen
    if code == 0:
        return CommandResult(shown.decode(errors="replace"), failed=False, seen=seen)
    parts = [f"The command ended with exit code {code}."]
    for name, text in (("stderr", stderr.tail), ("stdout", shown)):
        if text.strip():
            parts.append(f"{name}:\n{text[-LONGEST_TAIL:].decode(errors='replace').strip()}")
    return CommandResult("\n\n".join(parts), failed=True, seen=seen)
