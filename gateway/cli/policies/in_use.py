"""What stands against policies that the files alone do not tell, as far as it can be asked."""

import asyncio
from dataclasses import replace

from gateway.cli.acting import check_vault
from gateway.cli.output import note
from gateway.domain.errors import OperationError, StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import Loaded
from gateway.services.policies.orphans import Orphans, orphans
from gateway.store.connections.connect import open_store
from gateway.store.key_reader import KeyReader


def with_credentials(store: StoreSettings | None, loaded: Loaded) -> Loaded:
    """`loaded`, with the problems of its references too, where the vault can be asked."""
    policies = loaded.readable
    if policies is None or not policies.mentions:
        return loaded
    try:
        problems = check_vault(store, lambda vault: vault.problems(policies))
    except (StoreError, OperationError) as problem:
        note(f"The credentials were not looked at: {problem}")
        return loaded
    if not problems:
        return loaded
    return replace(loaded, policies=None, problems=tuple(sorted({*loaded.problems, *problems})))


def orphaned(store: StoreSettings | None, policies: Policies) -> Orphans:
    """Living keys that would be left without; none without a store."""
    if store is None:
        return Orphans()
    try:
        return asyncio.run(_ask(store, policies))
    except (StoreError, OperationError) as problem:
        note(f"The living keys were not looked at: {problem}")
        return Orphans()


async def _ask(store: StoreSettings, policies: Policies) -> Orphans:
    async with open_store(store) as client:
        return await orphans(KeyReader(client, store.prefix), policies)
