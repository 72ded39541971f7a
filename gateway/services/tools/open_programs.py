"""The tool programs that a gateway process runs, for its lifetime."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings
from gateway.services.tools.command_tools import CommandTools
from gateway.services.tools.program_slots import ProgramSlots
from gateway.services.tools.program_vet import ProgramVet
from gateway.services.tools.stdio_pool import StdioPool
from gateway.tasks import cancel_and_wait, unending


@dataclass(frozen=True, slots=True)
class Programs:
    """`vet`: whether programs can be run here; it has to be asked before any runs."""

    servers: StdioPool
    commands: CommandTools
    launcher: Launcher
    vet: ProgramVet


@asynccontextmanager
async def open_programs(
    settings: ChildSettings, is_known: Callable[[str], bool]
) -> AsyncIterator[Programs]:
    """Yield the programs. All of them are ended with the context, and earlier if one was given a
    credential that `is_known` no longer knows."""
    launcher = Launcher(settings)
    slots = ProgramSlots(settings.most)
    pool = StdioPool(launcher, slots, time.monotonic, is_known)
    watch = unending(pool.watch)
    try:
        vet = ProgramVet(settings, launcher)
        yield Programs(pool, CommandTools(launcher, slots), launcher, vet)
    finally:
        await cancel_and_wait(watch)
        await pool.close()
        # Commands end with their callers' tasks, which nobody awaits once the callers are gone.
        await slots.all_free()
