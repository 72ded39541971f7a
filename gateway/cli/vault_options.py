"""Where the vault is and what opens it, as the environment says."""

import os
import pwd
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

from gateway.cli.audit_options import operators_file
from gateway.cli.options import parse_keys, read_keys, read_store_settings, seconds_of
from gateway.cli.output import note
from gateway.cli.privacy import keep_private
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.settings import Address, StoreSettings, VaultSettings
from gateway.store.connections.connect import check_url, open_store
from gateway.store.embedded.server import has_store
from gateway.store.state_dir import MASTER_KEY, own_key

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.services.audit.acts import Acts
    from gateway.services.credentials.vault import Vault

T = TypeVar("T")
Warn = Callable[[str], None]

SHORTEST_POLL = 0.1
UNSIGNED = (
    "The audit record of this is not signed, because there is no master key here: give "
    "GATEWAY_MASTER_KEY_FILE to whoever works on keys, or 'gateway audit verify' fails on it."
)


def read_vault(
    store: StoreSettings, listening: Iterable[Address], warn: Warn, *, embedded: bool
) -> VaultSettings:
    """The vault of a gateway that listens there.

    Master keys come from GATEWAY_MASTER_KEY_FILE or GATEWAY_MASTER_KEY. Without them one is made
    in the state directory, but for a gateway in production: that has none then.
    """
    poll = seconds_of("GATEWAY_CREDENTIAL_POLL", 15.0)
    if poll < SHORTEST_POLL:
        raise UsageError(f"GATEWAY_CREDENTIAL_POLL is at least {SHORTEST_POLL} s.")
    url = os.environ.get("GATEWAY_VAULT_REDIS_URL") or None
    # Before anything is made for a command that is to be refused.
    for given in filter(None, (store.url, url)):
        check_url(given)
    keys = read_keys("GATEWAY_MASTER_KEY_FILE", "GATEWAY_MASTER_KEY")
    if keys is None:
        in_production = any(not address.is_loopback for address in listening)
        keys = () if in_production and not embedded else _own_key(store, warn)
    return VaultSettings(url, keys, poll)


def with_vault(store: StoreSettings, warn: Warn, work: Callable[["Vault"], Awaitable[T]]) -> T:
    """Run `work` on the vault, as a command on this machine does."""
    keep_private()
    settings = read_vault(store, (), warn, embedded=False)
    return _run(store, settings, work)


def check_vault(
    store: StoreSettings | None, work: Callable[["Vault"], Awaitable[list[T]]]
) -> list[T]:
    """The same for a look that makes nothing; empty where there is neither store nor vault."""
    if not may_ask_vault(store):
        return []
    url = os.environ.get("GATEWAY_VAULT_REDIS_URL") or None
    place = store or read_store_settings(url, None)
    return _run(place, VaultSettings(url and check_url(url), known_master_keys(place)), work)


def may_ask_vault(store: StoreSettings | None) -> bool:
    """Whether there is a vault to look at."""
    return store is not None or bool(os.environ.get("GATEWAY_VAULT_REDIS_URL"))


def existing_store(store: StoreSettings) -> StoreSettings | None:
    """The store, if one is given or lies in the state directory; a look makes none."""
    return store if store.url is not None or has_store(store.state_dir) else None


def known_master_keys(store: StoreSettings) -> tuple[bytes, ...]:
    """Those given, or the state directory's; none is made."""
    keys = read_keys("GATEWAY_MASTER_KEY_FILE", "GATEWAY_MASTER_KEY")
    path = store.state_dir / MASTER_KEY
    if keys is None and path.is_file():
        keys = parse_keys("the state directory's master key", path.read_text(encoding="ascii"))
    return keys or ()


def signing_keys(store: StoreSettings, warn: Warn) -> tuple[bytes, ...]:
    """What signs the record of an act: the known master keys. The embedded store, which nobody but
    this machine writes to, has one made, so that its first act is signed as well."""
    if store.url is None and read_keys("GATEWAY_MASTER_KEY_FILE", "GATEWAY_MASTER_KEY") is None:
        return _own_key(store, warn)
    return known_master_keys(store)


def _run(
    store: StoreSettings, settings: VaultSettings, work: Callable[["Vault"], Awaitable[T]]
) -> T:
    # Imported late: `gateway serve --help` must not pay for it.
    import asyncio

    from gateway.crypto.envelope import Envelope, MasterKeys
    from gateway.services.credentials.vault import Vault
    from gateway.store.vault import VaultStore

    masters = MasterKeys(settings.master_keys)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            client = main = await stack.enter_async_context(open_store(settings.place(store)))
            if settings.url not in (None, store.url):
                main = await stack.enter_async_context(open_store(store))
            acts = operators_acts(main, store.prefix, masters.keys, stack)
            vault = VaultStore(client, store.prefix)
            return await work(Vault(vault, Envelope(masters), acts.on_credential))

    return asyncio.run(run())


def operators_acts(
    client: "Redis", prefix: str, master_keys: tuple[bytes, ...], stack: AsyncExitStack
) -> "Acts":
    """What this command does, in the name of whoever runs it; its chain ends with `stack`. That
    nothing signs it is said at the end: later, `audit verify` would come as a surprise."""
    from gateway.crypto.audit_key import audit_keys
    from gateway.crypto.envelope import MasterKeys
    from gateway.services.audit.acts import Acts
    from gateway.services.audit.writing import Audit
    from gateway.store.audit import AuditStore
    from gateway.store.audit_file import AuditFile

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


def _own_key(store: StoreSettings, warn: Warn) -> tuple[bytes, ...]:
    path = store.state_dir / MASTER_KEY
    existed = path.exists()
    try:
        text = own_key(store.state_dir, MASTER_KEY)
    except OperationError:
        if store.url is None:
            raise
        # A Redis of the operator's own: nobody said that there has to be a state directory.
        return ()
    if not existed:
        warn(
            f"No master key was given, so one was made in {path}, for development: without that "
            "file no credential can be read. In production set GATEWAY_MASTER_KEY_FILE."
        )
    return parse_keys("the state directory's master key", text)
