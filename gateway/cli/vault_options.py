"""Where the vault is and what opens it, as the environment says."""

import os
from collections.abc import Callable, Iterable

from gateway.cli.options import parse_keys, read_keys, seconds_of
from gateway.cli.output import note
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.settings import Address, StoreSettings, VaultSettings
from gateway.store.connections.connect import check_url
from gateway.store.connections.urls import read_url
from gateway.store.embedded.server import has_store
from gateway.store.state_dir import MASTER_KEY, own_key

Warn = Callable[[str], None]

SHORTEST_POLL = 0.1


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
    keys = read_keys("GATEWAY_MASTER_KEY")
    if keys is None:
        in_production = any(not address.is_loopback for address in listening)
        keys = () if in_production and not embedded else _own_key(store, warn)
    return VaultSettings(url, keys, poll)


def vault_of_command(store: StoreSettings) -> VaultSettings:
    """The vault that a command changes. Where Redis is on another machine none but a known master
    key will do: what was sealed under one that is made here the gateways there could not open."""
    url = os.environ.get("GATEWAY_VAULT_REDIS_URL") or None
    hosts = [host for place in (url, store.url) if place for host in read_url(place).hosts]
    if all(Address(host, 0).is_loopback for host in hosts):
        return read_vault(store, (), note, embedded=False)
    return VaultSettings(url and check_url(url), known_master_keys(store))


def may_ask_vault(store: StoreSettings | None) -> bool:
    """Whether there is a vault to look at."""
    return store is not None or bool(os.environ.get("GATEWAY_VAULT_REDIS_URL"))


def existing_store(store: StoreSettings) -> StoreSettings | None:
    """The store, if one is given or lies in the state directory; a look makes none."""
    return store if store.url is not None or has_store(store.state_dir) else None


def known_master_keys(store: StoreSettings) -> tuple[bytes, ...]:
    """Those given, or the state directory's; none is made."""
    keys = read_keys("GATEWAY_MASTER_KEY")
    path = store.state_dir / MASTER_KEY
    if keys is None and path.is_file():
        keys = parse_keys("the state directory's master key", path.read_text(encoding="ascii"))
    return keys or ()


def signing_keys(store: StoreSettings) -> tuple[bytes, ...]:
    """What signs the record of an act: the known master keys. The embedded store, which nobody but
    this machine writes to, has one made, so that its first act is signed as well."""
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
        # A Redis of the operator's own: nobody said that there has to be a state directory.
        return ()
    if not existed:
        warn(
            f"No master key was given, so one was made in {path}, for development: without that "
            "file no credential can be read. In production set GATEWAY_MASTER_KEY_FILE."
        )
    return parse_keys("the state directory's master key", text)
