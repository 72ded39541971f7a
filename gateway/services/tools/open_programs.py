"""The programs of tools that a gateway runs, for as long as it runs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings
from gateway.services.tools.command_tools import CommandTools
from gateway.services.tools.places import ToolPlaces
from gateway.services.tools.program_vet import ProgramVet
from gateway.services.tools.stdio_pool import StdioPool
from gateway.tasks import background, end


@dataclass(frozen=True, slots=True)
class Programs:
    """`vet`: tells whether policies' programs can be run here; nothing runs before it was asked."""

    servers: StdioPool
    commands: CommandTools
    launcher: Launcher
    vet: ProgramVet


@asynccontextmanager
async def open_programs(
    settings: ChildSettings, is_known: Callable[[str], bool]
) -> AsyncIterator[Programs]:
    """All of them are gone when the context ends, and those that were given a credential that
    `is_known` no more before."""
    launcher = Launcher(settings)
    places = ToolPlaces(settings.most)
    pool = StdioPool(launcher, places, time.monotonic, is_known)
    watch = background(pool.watch())
    try:
        vet = ProgramVet(settings, launcher)
        yield Programs(pool, CommandTools(launcher, places), launcher, vet)
    finally:
        await end(watch)
        await pool.close()
        # Commands end with their callers' tasks, for which nobody waits once the callers are gone.
        await places.all_free()
