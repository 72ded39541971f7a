"""Where the vault is and which master keys open it, as the environment says."""

import os
from collections.abc import Callable, Iterable

from gateway.cli.options import from_environment
from gateway.cli.output import note
from gateway.cli.secret_settings import parse_keys, read_keys
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.settings import Address, StoreSettings, VaultSettings
from gateway.domain.units import duration
from gateway.store.connections.connect import check_url
from gateway.store.connections.urls import read_url
from gateway.store.embedded.server import has_store
from gateway.store.state_dir import MASTER_KEY, own_key

Warn = Callable[[str], None]

SHORTEST_POLL = 0.1


def read_vault(
    store: StoreSettings, listening: Iterable[Address], warn: Warn, *, embedded: bool
) -> VaultSettings:
    """Return the vault settings of a gateway that listens at these addresses.

    Master keys come from GATEWAY_MASTER_KEY_FILE or GATEWAY_MASTER_KEY. Without these, one is made
    in the state directory, except for a gateway in production, which then has none.
    """
    poll = from_environment("GATEWAY_CREDENTIAL_POLL", 15.0, duration)
    if poll < SHORTEST_POLL:
        raise UsageError(f"GATEWAY_CREDENTIAL_POLL is at least {SHORTEST_POLL} s.")
    url = vault_url()
    # Checked first: a command that is refused must not leave a new master key behind.
    for given in filter(None, (store.url, url)):
        check_url(given)
    keys = read_keys("GATEWAY_MASTER_KEY")
    if keys is None:
        in_production = any(not address.is_loopback for address in listening)
        keys = () if in_production and not embedded else _own_key(store, warn)
    return VaultSettings(url, keys, poll)


def vault_of_command(store: StoreSettings) -> VaultSettings:
    """Return the settings of the vault that a command works on.

    A master key is only made if Redis is on this machine: gateways elsewhere could not open what is
    encrypted under a key made here.
    """
    hosts = [host for place in (vault_url(), store.url) if place for host in read_url(place).hosts]
    if all(Address(host, 0).is_loopback for host in hosts):
        return read_vault(store, (), note, embedded=False)
    return vault_as_it_is(store)


def vault_as_it_is(store: StoreSettings) -> VaultSettings:
    """Return the settings of the vault; no master key is made."""
    url = vault_url()
    return VaultSettings(url and check_url(url), known_master_keys(store))


def vault_url() -> str | None:
    """Return the URL of the vault's own Redis; None: the vault is where the keys are."""
    return os.environ.get("GATEWAY_VAULT_REDIS_URL") or None


def may_ask_vault(store: StoreSettings | None) -> bool:
    """Whether there is a vault that can be read."""
    return store is not None or vault_url() is not None


def existing_store(store: StoreSettings) -> StoreSettings | None:
    """Return the store if a URL was given or the state directory holds one, else None. A command
    that only reads does not make one."""
    return store if store.url is not None or has_store(store.state_dir) else None


def known_master_keys(store: StoreSettings) -> tuple[bytes, ...]:
    """Return the master keys given, or that of the state directory; none is made."""
    keys = read_keys("GATEWAY_MASTER_KEY")
    path = store.state_dir / MASTER_KEY
    if keys is None and path.is_file():
        keys = parse_keys("the state directory's master key", path.read_text(encoding="ascii"))
    return keys or ()


def signing_keys(store: StoreSettings) -> tuple[bytes, ...]:
    """Return the master keys that sign audit records of acts.

    With the embedded store, which only this machine writes to, one is made if there is none, so
    that even the first act is signed.
    """
    if store.url is None and read_keys("GATEWAY_MASTER_KEY") is None:
        return _own_key(store, note)
    return known_master_keys(store)


def _own_key(store: StoreSettings, warn: Warn) -> tuple[bytes, ...]:
    path = store.state_dir / MASTER_KEY
    existed = path.exists()
    try:
        text = own_key(store.state_dir, MASTER_KEY)
    except OperationError:
        if store.url is None:
            raise
        # With a Redis of the operator's own, a state directory is not required.
        return ()
    if not existed:
        warn(
            f"No master key was given, so one was made in {path}, for development: without that "
            "file no credential can be read. In production set GATEWAY_MASTER_KEY_FILE."
        )
    return parse_keys("the state directory's master key", text)
