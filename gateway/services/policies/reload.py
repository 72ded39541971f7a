"""The policies in force: loaded whole, swapped in one step, and kept when a new set is bad."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.snapshot import Policies
from gateway.log import log
from gateway.protocol.policy.read import Loaded
from gateway.services.policies.directory import (
    Listing,
    list_directory,
    read_directory,
    read_listing,
)
from gateway.services.policies.reading import Reading
from gateway.services.policies.settle import Settling, is_written

POLL_SECONDS = 0.2
# Until it is asked again whether what stood against a set still does.
AGAIN_SECONDS = 2.0
_SILENT = "these files give no answer: policies in force stay, look at the disk that they are on"
# Files that are read in vain take no more than this part of a core from the calls: large sets
# take seconds, and what stands against them may last for days.
SHARE = 1 / 20

Adapt = Callable[[Policies], Policies]
# Told of the policies before and after a swap.
AfterSwap = Callable[[Policies, Policies], None]
# What stands against a set that the files alone do not tell, such as credentials that are missing.
Vet = Callable[[Policies], Awaitable[tuple[Problem, ...]]]


class LivePolicies:
    """`current` is replaced in one step; `problems` are those of the last set that was refused, and
    that the files give no answer.

    `listing`: the files from which `loaded` was read. `adapt` is applied to every set.
    `tried` is told of every further set; it was taken if it has `policies`.
    """

    def __init__(self, directory: Path, listing: Listing, loaded: Policies, adapt: Adapt) -> None:
        self.current = adapt(loaded)
        self._refused: tuple[Problem, ...] = ()
        self.after_swap: AfterSwap = _nothing
        self.vet: Vet = _no_objection
        self.tried: Callable[[Loaded], object] = id
        self.reading = Reading(directory)
        self._directory = directory
        self._adapt = adapt
        self._settling = Settling(listing, is_written)
        # Files refused for what they alone do not tell; and before when not to ask that again.
        self._held_up: tuple[Loaded, float] | None = None
        # From reading to taking: a set that waits in its vet is never put over a newer one.
        self._turn = asyncio.Lock()

    @property
    def problems(self) -> tuple[Problem, ...]:
        silent = (
            (Problem(Place(str(self._directory), 1, 1), _SILENT),) if self.reading.silent else ()
        )
        return (*silent, *self._refused)

    async def watch(self) -> None:
        """Reload whenever the files have changed and rest. Never ends by itself.

        Looking costs some 50 µs and sees what notifications miss: a directory that was itself
        replaced, network file systems, links that point out of it.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            listing = await self.reading(list_directory, self._directory)
            # It opens files, which may hang as well.
            if not await self.reading(self._settling.due, listing, loop.time()):
                await self._ask_again(listing, loop.time())
                continue
            async with self._turn:
                loaded = await self.reading(read_listing, self._directory, listing)
                if loaded is not None:
                    self._settling.tried(listing)
                    await self._consider(loaded, "change")

    async def reload(self, reason: str) -> Loaded:
        """Read the files now. A bad set leaves the last good one in force."""
        async with self._turn:
            return await self._consider(await self._read(), reason)

    async def candidate(self) -> Loaded:
        """What a reload would take now; nothing is taken."""
        loaded = await self._vetted(await self._read())
        policies = loaded.policies
        return replace(loaded, policies=self._adapt(policies)) if policies else loaded

    async def _read(self) -> Loaded:
        return await self.reading(read_directory, self._directory)

    async def _consider(
        self, read: Loaded, reason: str, *, again: bool = False, took: float = 0.0
    ) -> Loaded:
        """`again`: what is known to stand against it is not told anew. `took`: seconds, to read
        it."""
        loaded = await self._vetted(read)
        held_up = loaded.policies is None and (read.policies is not None or read.passing)
        again_at = asyncio.get_running_loop().time() + max(AGAIN_SECONDS, took / SHARE)
        self._held_up = (read, again_at) if held_up else None
        if not (again and held_up and loaded.problems == self._refused):
            self._take(loaded, reason)
        return loaded

    async def _ask_again(self, listing: Listing, now: float) -> None:
        """A credential that was missing may have been set, or a file be readable: then nobody
        touches the files again."""
        async with self._turn:
            if self._held_up is None or now < self._held_up[1]:
                return
            (read, _), took = self._held_up, 0.0
            if read.passing and self._settling.has_tried(listing):
                loop = asyncio.get_running_loop()
                begun = loop.time()
                found = await self.reading(read_listing, self._directory, listing)
                read, took = found or read, loop.time() - begun
            await self._consider(read, "what was missing is there", again=True, took=took)

    async def _vetted(self, loaded: Loaded) -> Loaded:
        if loaded.policies is None:
            return loaded
        problems = await self.vet(loaded.policies)
        return replace(loaded, policies=None, problems=problems) if problems else loaded

    def _take(self, loaded: Loaded, reason: str) -> None:
        self._refused = loaded.problems
        self.tried(loaded)
        for warning in loaded.warnings:
            log.warning("policy_warning", place=str(warning.place), message=warning.message)
        if loaded.policies is None:
            kept = self.current.revision
            log.error("policies_refused", reason=reason, kept=kept, problems=len(loaded.problems))
            for problem in loaded.problems:
                log.error("policy_problem", place=str(problem.place), message=problem.message)
            return
        before, self.current = self.current, self._adapt(loaded.policies)
        log.info("policies_loaded", reason=reason, revision=self.current.revision)
        self.after_swap(before, self.current)


async def _no_objection(_: Policies) -> tuple[Problem, ...]:
    return ()


def _nothing(before: Policies, after: Policies) -> None:
    """Nobody wants to know."""
