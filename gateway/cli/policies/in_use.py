"""Checks of policies against the vault and the active keys, if these can be reached."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from gateway.cli.acting import check_vault
from gateway.cli.output import note
from gateway.cli.vault_settings import may_ask_vault
from gateway.domain.errors import OperationError, StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import Loaded
from gateway.services.policies.orphans import Orphans, orphans
from gateway.store.connections.connect import open_store
from gateway.store.key_reader import KeyReader

T = TypeVar("T")


def with_credentials(store: StoreSettings | None, loaded: Loaded) -> Loaded | None:
    """Return `loaded` with the problems of its credential references; None if the vault cannot be
    read."""
    policies = loaded.readable
    if policies is None or not policies.mentions:
        return loaded
    if not may_ask_vault(store):
        note("The credentials were not checked: give --redis. This is what the files say.")
        return None
    try:
        problems = check_vault(store, lambda vault: vault.problems(policies))
    except (StoreError, OperationError) as problem:
        note(f"The credentials were not checked: {problem}")
        return None
    if not problems:
        return loaded
    return replace(loaded, policies=None, problems=tuple(sorted({*loaded.problems, *problems})))


def orphaned(store: StoreSettings | None, policies: Policies) -> Orphans | None:
    """Return the active keys that would lose their plan or agent; None if they cannot be read."""
    return with_key_reader(store, lambda keys: orphans(keys, policies)) if store else None


def with_key_reader(store: StoreSettings, work: Callable[[KeyReader], Awaitable[T]]) -> T | None:
    """Run `work` on the key records; None, with a note, if they cannot be read."""

    async def run() -> T:
        async with open_store(store) as client:
            return await work(KeyReader(client, store.prefix))

    try:
        return asyncio.run(run())
    except (StoreError, OperationError) as problem:
        note(f"The active keys were not checked: {problem}")
        return None
