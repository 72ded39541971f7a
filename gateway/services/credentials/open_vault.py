"""The credentials of a gateway process, from its vault, for its lifetime."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from gateway.client.changes import SourceError
from gateway.client.sync import Report, Sync
from gateway.crypto.envelope import Envelope
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import Settings
from gateway.services.credentials.current import LiveCredentials, log_report
from gateway.services.credentials.source import VaultSource, WrongMasterKeyError
from gateway.services.credentials.watch import CredentialWatch
from gateway.services.telemetry.traffic import Traffic
from gateway.store.connections.connect import open_store
from gateway.store.vault import LONGEST_WAIT, VaultNews, VaultStore
from gateway.tasks import cancel_and_wait, unending

# How long a worker waits for the vault where others serve.
PATIENCE_SECONDS = 20.0

_NO_KEY = (
    "The vault holds credentials, and no master key was given: set GATEWAY_MASTER_KEY_FILE (one "
    "that was made by itself is for loopback, unless --embedded says that it is meant)."
)


@asynccontextmanager
async def open_vault(settings: Settings, client: Redis) -> AsyncIterator[VaultStore]:
    """Yield the vault's records, which are in `client`'s Redis or in one of their own."""
    if settings.vault.url is None:
        yield VaultStore(client, settings.store.prefix)
        return
    async with open_store(settings.vault.place(settings.store)) as own:
        yield VaultStore(own, settings.store.prefix)


@asynccontextmanager
async def open_source(
    settings: Settings, vault: VaultStore, envelope: Envelope
) -> AsyncIterator[VaultSource]:
    """Yield the vault as a source of credentials, with a connection that waits for news."""
    place = settings.vault.place(settings.store)
    async with open_store(place, LONGEST_WAIT) as waiting:
        yield VaultSource(vault, VaultNews(waiting, settings.store.prefix), envelope)


@asynccontextmanager
async def live_credentials(
    source: VaultSource, poll: float, traffic: Traffic, *, beside: bool
) -> AsyncIterator[LiveCredentials]:
    """Fetch the credentials once, if the vault answers, and keep them up to date until the context
    ends. `beside`: of other workers that serve; then the vault has to answer.

    If the vault answers and holds credentials: UsageError without a master key, OperationError if
    none of the master keys is the right one.
    """
    held: list[Report] = []
    sync = Sync(source, poll, held.append)
    if not await sync.check() and isinstance(sync.problem, WrongMasterKeyError):
        # Said once, as the reason why the process ends.
        if not source.has_master_key:
            raise UsageError(_NO_KEY)
        raise OperationError(str(sync.problem))
    for report in held:
        log_report(report)
    sync.on_report = log_report
    if beside and not sync.ready:
        await _wait_for(sync)
    credentials = LiveCredentials(sync, source.now)
    watch = CredentialWatch(credentials, traffic)
    running = unending(sync.run), unending(watch.watch)
    try:
        yield credentials
    finally:
        await cancel_and_wait(*running)


async def _wait_for(sync: Sync) -> None:
    """Wait for the first answer; OperationError if none comes. A worker with nothing in its memory
    would take calls from those that serve from theirs."""
    try:
        await sync.first(PATIENCE_SECONDS)
    except SourceError as problem:
        raise OperationError(
            f"The credentials could not be fetched, so the other workers go on alone: {problem}"
        ) from None


async def missing_credentials(
    credentials: LiveCredentials, policies: Policies
) -> tuple[Problem, ...]:
    """Like `LiveCredentials.problems`; before a problem is returned, the vault is asked again."""
    if not policies.mentions:
        return ()
    found = credentials.problems(policies)
    if found:
        # It may have been created a moment ago, for these very policies.
        await credentials.check()
        found = credentials.problems(policies)
    return found
