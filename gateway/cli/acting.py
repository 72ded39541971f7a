"""Work on records in the name of the user who runs a command: what cannot be undone is confirmed,
and each act is audited first."""

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import click
from redis.asyncio import Redis

from gateway.cli.audit_settings import operators_file
from gateway.cli.options import read_store_settings
from gateway.cli.output import note
from gateway.cli.privacy import keep_private
from gateway.cli.vault_settings import (
    may_ask_vault,
    signing_keys,
    vault_as_it_is,
    vault_of_command,
    vault_url,
)
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.settings import StoreSettings, VaultSettings
from gateway.services.audit.acts import Acts
from gateway.services.audit.writer import Audit
from gateway.services.credentials.vault import Vault
from gateway.store.audit import AuditStore
from gateway.store.audit_file import AuditFile
from gateway.store.connections.connect import open_store
from gateway.store.vault import VaultStore

T = TypeVar("T")

# `audit verify` accepts unsigned records of acts on keys only.
_UNSIGNABLE = (
    "There is no master key to sign the audit record of an act on credentials: set "
    "GATEWAY_MASTER_KEY_FILE."
)
UNSIGNED = (
    "The audit record of this act is not signed, because there is no master key here, and 'gateway "
    "audit verify' will fail on it: set GATEWAY_MASTER_KEY_FILE for everyone who works on keys."
)


def with_acts(store: StoreSettings, work: Callable[[Redis, Acts], Awaitable[T]]) -> T:
    """Run `work` with a connection to the store and the audit of its acts."""
    masters = signing_keys(store)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(open_store(store))
            return await work(client, _acts(client, store.prefix, masters, stack))

    return asyncio.run(run())


def with_vault(store: StoreSettings, work: Callable[[Vault], Awaitable[T]]) -> T:
    """Run `work` on the vault, which a command on this machine may make."""
    keep_private()
    return asyncio.run(_run(store, vault_of_command(store), work))


def check_vault(
    store: StoreSettings | None, work: Callable[[Vault], Awaitable[Sequence[T]]]
) -> Sequence[T]:
    """Run `work` on the vault without making one; return nothing if there is no store or vault."""
    if not may_ask_vault(store):
        return ()
    return asyncio.run(in_vault(store or read_store_settings(vault_url(), None), work))


async def in_vault(store: StoreSettings, work: Callable[[Vault], Awaitable[T]]) -> T:
    """Run `work` on the vault as it is, without making a master key."""
    return await _run(store, vault_as_it_is(store), work)


async def _run(
    store: StoreSettings, settings: VaultSettings, work: Callable[[Vault], Awaitable[T]]
) -> T:
    masters = MasterKeys(settings.master_keys)
    async with AsyncExitStack() as stack:
        client = main = await stack.enter_async_context(open_store(settings.place(store)))
        if settings.url not in (None, store.url):
            main = await stack.enter_async_context(open_store(store))
        acts = _acts(main, store.prefix, masters.keys, stack)
        vault = VaultStore(client, store.prefix)
        record = acts.on_credential if masters.ids else _not_unsigned
        return await work(Vault(vault, Envelope(masters), record))


def confirm(question: str, *, yes: bool) -> None:
    """Ask the operator. UsageError without a terminal and without --yes; OperationError if the
    answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to confirm this on: add --yes.")
    if not click.confirm(question, err=True):
        raise OperationError("Nothing was done.")


def check_signed(store: StoreSettings) -> None:
    """Raise OperationError if no master key could sign the act that is about to happen."""
    if not signing_keys(store):
        raise OperationError(_UNSIGNABLE)


async def _not_unsigned(*_: object, **__: object) -> None:
    raise OperationError(_UNSIGNABLE)


def _acts(
    client: Redis, prefix: str, master_keys: tuple[bytes, ...], stack: AsyncExitStack
) -> Acts:
    """The audit of this command's acts; its chain ends with `stack`. Warn at the end if the records
    are not signed, so that `audit verify` does not fail unexpectedly later."""
    wanted = operators_file()
    file = None if wanted is None else AuditFile(wanted)
    audit = Audit(AuditStore(client, prefix), audit_keys(MasterKeys(master_keys)), file)
    stack.push_async_callback(audit.close)
    acts = Acts(audit, f"operator:{operator()}")

    def warn_if_unsigned(failed: type[BaseException] | None, *_: object) -> None:
        if acts.done > 0 and not master_keys and failed is None:
            note(UNSIGNED)

    stack.push(warn_if_unsigned)
    return acts


def operator() -> str:
    """The name of the OS user who runs this command."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
