"""After a change of policies: a warning about keys that have lost something."""

import asyncio
from contextlib import AsyncExitStack

from gateway.domain.errors import StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.log import log
from gateway.services.policies.orphans import orphans
from gateway.store.key_reader import KeyReader


class OrphanWatch:
    """After a change that drops a plan, the rate of a plan, or an agent, it warns about the living
    keys that need it."""

    def __init__(self, keys: KeyReader, stack: AsyncExitStack) -> None:
        self._keys = keys
        self._looking: asyncio.Task[None] | None = None
        stack.callback(self._stop)

    def __call__(self, before: Policies, after: Policies) -> None:
        if _drops_nothing(before, after):
            return
        self._stop()
        self._looking = asyncio.create_task(self._warn(after))

    def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _warn(self, policies: Policies) -> None:
        try:
            for sentence in (await orphans(self._keys, policies)).sentences:
                log.warning("keys_orphaned", reason=sentence)
        except StoreError as problem:
            log.warning("keys_not_looked_at", reason=str(problem))


def _drops_nothing(before: Policies, after: Policies) -> bool:
    """Whether all that keys may need is still there; their own `burst` needs their plan's rate."""
    return (
        before.plans.keys() <= after.plans.keys()
        and before.agents.keys() <= after.agents.keys()
        and _with_rate(before) <= _with_rate(after)
    )


def _with_rate(policies: Policies) -> set[str]:
    return {name for name, plan in policies.plans.items() if plan.limits.rate is not None}
