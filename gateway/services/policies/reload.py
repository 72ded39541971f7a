"""The policies in force: loaded whole, replaced in one step, and kept if a new set is invalid."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.snapshot import Policies
from gateway.log import log
from gateway.protocol.policy.read import Loaded
from gateway.services.policies.debounce import Debounce, is_open_for_writing
from gateway.services.policies.directory import (
    Listing,
    list_directory,
    read_directory,
    read_listing,
)
from gateway.services.policies.reading import Reading

POLL_SECONDS = 0.2
# After this time it is checked again whether a set is still blocked.
AGAIN_SECONDS = 2.0
_SILENT = "these files give no answer: policies in force stay, look at the disk that they are on"
# The largest share of a core for reading blocked files again: large sets take seconds to read, and
# may be blocked for days.
SHARE = 1 / 20

Adapt = Callable[[Policies], Policies]
# Called with the policies before and after a change.
AfterSwap = Callable[[Policies, Policies], None]
# Returns problems that the files alone do not show, such as missing credentials.
Vet = Callable[[Policies], Awaitable[tuple[Problem, ...]]]


class LivePolicies:
    """`current` is replaced in one step. `problems`: those of the last refused set, and whether the
    disk is silent.

    `listing`: the files that `loaded` was read from. `adapt` is applied to every set. `tried` is
    told of every further set; it was accepted if it has `policies`.
    """

    def __init__(self, directory: Path, listing: Listing, loaded: Policies, adapt: Adapt) -> None:
        self.current = adapt(loaded)
        self._refused: tuple[Problem, ...] = ()
        self.after_swap: AfterSwap = _nothing
        self.vet: Vet = _no_objection
        self.tried: Callable[[Loaded], object] = lambda _: None
        self.reading = Reading(directory)
        self._directory = directory
        self._adapt = adapt
        self._settling = Debounce(listing, is_open_for_writing)
        # A set that was refused for reasons outside of the files, and when to check it again.
        self._blocked: tuple[Loaded, float] | None = None
        # Held from reading to accepting, so that a set that waits for its vet never replaces a
        # newer one.
        self._turn = asyncio.Lock()

    @property
    def problems(self) -> tuple[Problem, ...]:
        silent = (
            (Problem(Place(str(self._directory), 1, 1), _SILENT),) if self.reading.silent else ()
        )
        return (*silent, *self._refused)

    async def watch(self) -> None:
        """Reload when the files have changed and are quiet again. Never ends by itself.

        Polling costs some 50 µs and sees what notifications miss: a replaced directory, network
        file systems, links that point elsewhere.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            listing = await self.reading(list_directory, self._directory)
            # This opens files, which may hang as well.
            if not await self.reading(self._settling.due, listing, loop.time()):
                await self._retry_blocked(listing, loop.time())
                continue
            async with self._turn:
                loaded = await self.reading(read_listing, self._directory, listing)
                if loaded is not None:
                    self._settling.note_tried(listing)
                    await self._consider(loaded, "change")

    async def reload(self, reason: str) -> Loaded:
        """Read the files now. An invalid set leaves the last valid one in force."""
        async with self._turn:
            return await self._consider(await self._read(), reason)

    async def candidate(self) -> Loaded:
        """Return what a reload would accept now, without accepting it."""
        loaded = await self._vetted(await self._read())
        policies = loaded.policies
        return replace(loaded, policies=self._adapt(policies)) if policies else loaded

    async def _read(self) -> Loaded:
        return await self.reading(read_directory, self._directory)

    async def _consider(
        self, read: Loaded, reason: str, *, again: bool = False, took: float = 0.0
    ) -> Loaded:
        """Vet a set and accept or refuse it. `again`: known problems are not logged again. `took`:
        the seconds it took to read it."""
        loaded = await self._vetted(read)
        blocked = loaded.policies is None and (read.policies is not None or read.passing)
        again_at = asyncio.get_running_loop().time() + max(AGAIN_SECONDS, took / SHARE)
        self._blocked = (read, again_at) if blocked else None
        if not (again and blocked and loaded.problems == self._refused):
            self._apply(loaded, reason)
        return loaded

    async def _retry_blocked(self, listing: Listing, now: float) -> None:
        """Check a blocked set again: a missing credential may have been set, or a file become
        readable, without any change of the files."""
        async with self._turn:
            if self._blocked is None or now < self._blocked[1]:
                return
            (read, _), took = self._blocked, 0.0
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

    def _apply(self, loaded: Loaded, reason: str) -> None:
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
    """Do nothing."""
