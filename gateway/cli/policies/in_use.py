"""What stands against policies that the files alone do not tell, as far as it can be asked."""

import asyncio
from dataclasses import replace

from gateway.cli.acting import check_vault
from gateway.cli.output import note
from gateway.cli.vault_options import may_ask_vault
from gateway.domain.errors import OperationError, StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import Loaded
from gateway.services.policies.orphans import Orphans, orphans
from gateway.store.connections.connect import open_store
from gateway.store.key_reader import KeyReader


def with_credentials(store: StoreSettings | None, loaded: Loaded) -> Loaded | None:
    """`loaded`, with the problems of its references too; None: the vault could not be asked."""
    policies = loaded.readable
    if policies is None or not policies.mentions:
        return loaded
    if not may_ask_vault(store):
        note("The credentials were not looked at: give --redis. This is what the files say.")
        return None
    try:
        problems = check_vault(store, lambda vault: vault.problems(policies))
    except (StoreError, OperationError) as problem:
        note(f"The credentials were not looked at: {problem}")
        return None
    if not problems:
        return loaded
    return replace(loaded, policies=None, problems=tuple(sorted({*loaded.problems, *problems})))


def orphaned(store: StoreSettings | None, policies: Policies) -> Orphans | None:
    """Living keys that would be left without; None: they could not be looked at."""
    if store is None:
        return None
    try:
        return asyncio.run(_ask(store, policies))
    except (StoreError, OperationError) as problem:
        note(f"The living keys were not looked at: {problem}")
        return None


async def _ask(store: StoreSettings, policies: Policies) -> Orphans:
    async with open_store(store) as client:
        return await orphans(KeyReader(client, store.prefix), policies)
