"""Upstreams: connect to each as a call would, without sending any byte of a request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from gateway.domain.policies.snapshot import Policies, Upstream
from gateway.domain.units import counted
from gateway.services.diagnosis.findings import Finding, Level, some

AT_ONCE = 16
ALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Unreached:
    """`trust`: the upstream is there, but its certificate or the gateway's own is not accepted."""

    reason: str
    trust: bool = False


# Tries one upstream within its own timeout; returns None if it connected.
Reach = Callable[[Upstream], Awaitable[Unreached | None]]


async def upstreams_found(policies: Policies, reach: Reach) -> list[Finding]:
    """Try all upstreams, some at a time; report those without an answer in the end."""
    users = _users(policies)
    turn = asyncio.Semaphore(AT_ONCE)

    async def tried(upstream: Upstream) -> Unreached | None:
        async with turn:
            return await reach(upstream)

    tasks = {upstream: asyncio.create_task(tried(upstream)) for upstream in users}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=ALL_SECONDS)
    unasked = Unreached(f"there was no time to ask it within {ALL_SECONDS:.0f} s")
    missed: dict[Upstream, Unreached] = {}
    for upstream, task in tasks.items():
        result = task.result() if task.done() else unasked
        task.cancel()
        if result is not None:
            missed[upstream] = result
    return list(_findings(users, missed))


def _users(policies: Policies) -> dict[Upstream, list[str]]:
    """Return each upstream with the places that call it."""
    users: dict[Upstream, list[str]] = {}
    for agent in policies.everyone:
        for upstream in agent.upstreams:
            users.setdefault(upstream, []).append(f"{agent.kind}/{agent.name}")
    return users


def _findings(
    users: dict[Upstream, list[str]], missed: dict[Upstream, Unreached]
) -> Iterator[Finding]:
    if reached := len(users) - len(missed):
        yield Finding("upstream", Level.OK, f"{counted(reached, 'upstream')} can be reached.")
    for upstream, problem in missed.items():
        where = f"{upstream} (of {some(users[upstream])})"
        if problem.trust:
            advice = "calls there fail: look at 'ca', 'cert' and 'key' of this upstream."
            yield Finding("upstream", Level.WRONG, f"{where}: {problem.reason}; {advice}")
        else:
            advice = "calls there are answered 502: start it, or correct its URL."
            yield Finding("upstream", Level.WARN, f"{where}: {problem.reason}; {advice}")
