"""Findings about a gateway that would be started in the environment of this process."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.audit_settings import read_audit
from gateway.cli.options import check_exposure
from gateway.cli.privacy import is_private
from gateway.cli.secret_settings import read_keys
from gateway.domain.errors import UsageError
from gateway.domain.settings import (
    ADMIN_LISTEN,
    LISTEN,
    ListenerLimits,
    StoreSettings,
    parse_address,
)
from gateway.services.diagnosis.audit import audit_file_found
from gateway.services.diagnosis.certificates import listener_found
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.diagnosis.machine import files_found, memory_found, processes_found
from gateway.services.diagnosis.private_files import private_file

_LISTEN = (("GATEWAY_LISTEN", LISTEN), ("GATEWAY_ADMIN_LISTEN", ADMIN_LISTEN))
_YES = frozenset({"1", "true", "t", "yes", "y", "on"})
_SECRETS = (("The pepper", "GATEWAY_PEPPER"), ("The master key", "GATEWAY_MASTER_KEY"))


def surroundings(store: StoreSettings) -> Iterator[Finding]:
    """Findings about exposure, secrets, the audit file, the listener's certificate and the system's
    limits."""
    yield from _exposure(store)
    for what, variable in _SECRETS:
        yield from _secret(what, variable)
    pepper = map(os.environ.get, ("GATEWAY_PEPPER_FILE", "GATEWAY_PEPPER"))
    if store.url is not None and not any(pepper):
        yield Finding(
            "secrets",
            Level.WARN,
            "No pepper is given here: without one, every wrong secret costs an argon2 run. Give "
            "every gateway the same GATEWAY_PEPPER_FILE, made with 'openssl rand -base64 32'.",
        )
    yield from _audit_file()
    cert, key = os.environ.get("GATEWAY_TLS_CERT"), os.environ.get("GATEWAY_TLS_KEY")
    if cert and key:
        yield from listener_found(cert, key, time.time())
    # A gateway raises its soft limit to the hard one.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield files_found(-1 if hard == resource.RLIM_INFINITY else hard, _max_connections())
    workers = os.environ.get("GATEWAY_WORKERS", "")
    if workers.isascii() and workers.isdigit():
        yield processes_found(int(workers), os.cpu_count() or 1)
    yield memory_found(private=is_private())


def _exposure(store: StoreSettings) -> Iterator[Finding]:
    try:
        listening = tuple(parse_address(os.environ.get(*place)) for place in _LISTEN)
        embedded = os.environ.get("GATEWAY_EMBEDDED", "").lower() in _YES
        check_exposure(listening, store, embedded=embedded)
    except (UsageError, ValueError) as problem:
        yield Finding("listen", Level.WRONG, str(problem))


def _secret(what: str, variable: str) -> Iterator[Finding]:
    try:
        keys = read_keys(variable)
    except UsageError as problem:
        yield Finding("secrets", Level.WRONG, str(problem))
        return
    if path := os.environ.get(f"{variable}_FILE"):
        yield private_file(Path(path), what)
    elif keys:
        yield Finding("secrets", Level.OK, f"{what} comes from {variable}, and can be read.")


def _audit_file() -> Iterator[Finding]:
    try:
        file = read_audit().file
    except UsageError as problem:
        yield Finding("audit", Level.WRONG, str(problem))
    else:
        if file is not None:
            yield audit_file_found(file.path)


def _max_connections() -> int:
    text = os.environ.get("GATEWAY_MAX_CONNECTIONS", "")
    return int(text) if text.isascii() and text.isdigit() else ListenerLimits().max_connections
