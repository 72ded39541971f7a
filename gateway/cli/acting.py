"""Work on records in the name of whoever runs a command: each act is in the audit first."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from redis.asyncio import Redis

from gateway.cli.audit_settings import operators_file
from gateway.cli.options import read_store_settings
from gateway.cli.output import note
from gateway.cli.privacy import keep_private
from gateway.cli.vault_options import (
    known_master_keys,
    may_ask_vault,
    signing_keys,
    vault_of_command,
)
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.errors import OperationError
from gateway.domain.settings import StoreSettings, VaultSettings
from gateway.services.audit.acts import Acts
from gateway.services.audit.writing import Audit
from gateway.services.credentials.vault import Vault
from gateway.store.audit import AuditStore
from gateway.store.audit_file import AuditFile
from gateway.store.connections.connect import check_url, open_store
from gateway.store.vault import VaultStore

T = TypeVar("T")

# Of acts on keys alone does `audit verify` take records that nobody signed.
_UNSIGNABLE = (
    "There is no master key, and what is done to credentials is signed: set "
    "GATEWAY_MASTER_KEY_FILE."
)
UNSIGNED = (
    "The audit record of this is not signed, because there is no master key here: give "
    "GATEWAY_MASTER_KEY_FILE to whoever works on keys, or 'gateway audit verify' fails on it."
)


def with_acts(store: StoreSettings, work: Callable[[Redis, Acts], Awaitable[T]]) -> T:
    """Run `work` on the store, and on what it does there."""
    masters = signing_keys(store)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(open_store(store))
            return await work(client, _acts(client, store.prefix, masters, stack))

    return asyncio.run(run())


def with_vault(store: StoreSettings, work: Callable[[Vault], Awaitable[T]]) -> T:
    """Run `work` on the vault, as a command on this machine does."""
    keep_private()
    return _run(store, vault_of_command(store), work)


def check_vault(
    store: StoreSettings | None, work: Callable[[Vault], Awaitable[list[T]]]
) -> list[T]:
    """The same for a look that makes nothing; empty where there is neither store nor vault."""
    if not may_ask_vault(store):
        return []
    url = os.environ.get("GATEWAY_VAULT_REDIS_URL") or None
    place = store or read_store_settings(url, None)
    return _run(place, VaultSettings(url and check_url(url), known_master_keys(place)), work)


def _run(store: StoreSettings, settings: VaultSettings, work: Callable[[Vault], Awaitable[T]]) -> T:
    masters = MasterKeys(settings.master_keys)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            client = main = await stack.enter_async_context(open_store(settings.place(store)))
            if settings.url not in (None, store.url):
                main = await stack.enter_async_context(open_store(store))
            acts = _acts(main, store.prefix, masters.keys, stack)
            vault = VaultStore(client, store.prefix)
            record = acts.on_credential if masters.ids else _not_unsigned
            return await work(Vault(vault, Envelope(masters), record))

    return asyncio.run(run())


def check_signed(store: StoreSettings) -> None:
    """OperationError where nothing would sign what is about to be done."""
    if not signing_keys(store):
        raise OperationError(_UNSIGNABLE)


async def _not_unsigned(*_: object) -> None:
    raise OperationError(_UNSIGNABLE)


def _acts(
    client: Redis, prefix: str, master_keys: tuple[bytes, ...], stack: AsyncExitStack
) -> Acts:
    """What this command does, in the name of whoever runs it; its chain ends with `stack`. That
    nothing signs it is said at the end: later, `audit verify` would come as a surprise."""
    wanted = operators_file()
    file = None if wanted is None else AuditFile(wanted)
    audit = Audit(AuditStore(client, prefix), audit_keys(MasterKeys(master_keys)), file)
    stack.push_async_callback(audit.close)
    acts = Acts(audit, f"operator:{operator()}")

    def tell(failed: type[BaseException] | None, *_: object) -> None:
        if acts.done > 0 and not master_keys and failed is None:
            note(UNSIGNED)

    stack.push(tell)
    return acts


def operator() -> str:
    """The name of the OS user who runs this command."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
