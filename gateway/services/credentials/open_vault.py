"""The credentials of a gateway process, from its vault, for its lifetime."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from gateway.client.sync import Report, Sync
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import Settings
from gateway.services.audit.acts import Acts
from gateway.services.audit.writing import Audit
from gateway.services.credentials.current import LiveCredentials, tell_log
from gateway.services.credentials.source import VaultSource, WrongMasterKeyError
from gateway.services.credentials.vault import Vault
from gateway.services.credentials.watch import CredentialWatch
from gateway.services.telemetry.traffic import Traffic
from gateway.store.connections.connect import open_store
from gateway.store.vault import VaultStore
from gateway.tasks import background, end

_NO_KEY = (
    "The vault holds credentials, and no master key was given: set GATEWAY_MASTER_KEY_FILE (one "
    "that was made by itself is for loopback, unless --embedded says that it is meant)."
)


@asynccontextmanager
async def live_credentials(
    settings: Settings, client: Redis, traffic: Traffic
) -> AsyncIterator[LiveCredentials]:
    """Fetch the credentials once, if the vault answers, and keep them up to date until the context
    ends. The vault is in `client`'s Redis, or in one of its own.

    If the vault answers and holds credentials: UsageError without a master key, OperationError if
    none of the master keys is the right one.
    """
    if settings.vault.url is None:
        async with _kept(client, settings, traffic) as credentials:
            yield credentials
        return
    async with (
        open_store(settings.vault.place(settings.store)) as own,
        _kept(own, settings, traffic) as credentials,
    ):
        yield credentials


@asynccontextmanager
async def _kept(
    client: Redis, settings: Settings, traffic: Traffic
) -> AsyncIterator[LiveCredentials]:
    envelope = Envelope(MasterKeys(settings.vault.master_keys))
    source = VaultSource(VaultStore(client, settings.store.prefix), envelope)
    held: list[Report] = []
    sync = Sync(source, settings.vault.poll, held.append)
    if not await sync.check() and isinstance(sync.problem, WrongMasterKeyError):
        # Said once, as the reason why the process ends.
        if not settings.vault.master_keys:
            raise UsageError(_NO_KEY)
        raise OperationError(str(sync.problem))
    for report in held:
        tell_log(report)
    sync.tell = tell_log
    credentials = LiveCredentials(sync, source.now)
    watch = CredentialWatch(credentials, traffic)
    running = background(sync.run()), background(watch.watch())
    try:
        yield credentials
    finally:
        await end(*running)


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


@asynccontextmanager
async def users_vault(
    settings: Settings, client: Redis, audit: Audit
) -> AsyncIterator[Callable[[str], Vault]]:
    """Yield a function that returns the vault for an actor, `user:ann` or `key:4xT9mQ2LrB7c`, who
    is named in its audit records."""
    async with AsyncExitStack() as stack:
        if settings.vault.url is not None:
            own = open_store(settings.vault.place(settings.store))
            client = await stack.enter_async_context(own)
        store = VaultStore(client, settings.store.prefix)
        envelope = Envelope(MasterKeys(settings.vault.master_keys))

        def vault_for(actor: str) -> Vault:
            return Vault(store, envelope, Acts(audit, actor).on_credential)

        yield vault_for
