"""What both planes use: the store, admission, credentials, audit and metrics."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.crypto.tags import Peppers
from gateway.domain.errors import StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import Settings
from gateway.log import log
from gateway.services.admission.admit import Clocks, Gatekeeper
from gateway.services.admission.authenticate import Authenticator, Slot
from gateway.services.admission.leases import Leases
from gateway.services.audit.acts import Acts
from gateway.services.audit.open_audit import open_audit
from gateway.services.audit.writer import Audit
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.links import Links
from gateway.services.credentials.open_vault import live_credentials, open_source, open_vault
from gateway.services.credentials.vault import Vault
from gateway.services.telemetry.gauges import GaugeSampler
from gateway.services.telemetry.log_level import LogLevel
from gateway.services.telemetry.loop_lag import watch_loop
from gateway.services.telemetry.traffic import REVISION_DIGITS, Shared, Traffic
from gateway.services.telemetry.usage import UsageBook, open_usage
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import examine, open_lines, open_store
from gateway.store.keys import KeyStore
from gateway.store.links import LinkStore
from gateway.store.log_level import LogLevelStore
from gateway.store.vault import VaultStore
from gateway.store.workers import WorkerStore
from gateway.tasks import in_background
from gateway.workers.handover import Handover
from gateway.workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """`policies` returns those in force. `worker`: the line to a supervisor, if there is one."""

    settings: Settings
    policies: Callable[[], Policies]
    client: Redis
    keys: KeyStore
    traffic: Traffic
    credentials: LiveCredentials
    gatekeeper: Gatekeeper
    admission: Admission
    usage: UsageBook
    audit: Audit
    vault: VaultStore
    envelope: Envelope
    links: Links
    workers: WorkerStore
    log_level: LogLevel
    worker: Worker | None

    def vault_for(self, actor: str) -> Vault:
        """Return the vault for `user:ann` or `key:4xT9mQ2LrB7c`, named in its audit records."""
        return Vault(self.vault, self.envelope, Acts(self.audit, actor).on_credential)


@asynccontextmanager
async def open_foundation(
    settings: Settings, policies: Callable[[], Policies], given: Handover | None
) -> AsyncIterator[Foundation]:
    """Yield the foundation. The store has to exist, but need not answer yet."""
    async with AsyncExitStack() as stack:
        worker = _worker(given, settings, stack)
        client = await stack.enter_async_context(open_store(settings.store))
        await _warn_of_store(client)
        prefix = settings.store.prefix
        keys = KeyStore(client, prefix)
        traffic = Traffic(Shared(Path(given.shared), given.seat) if given else None)
        vault = await stack.enter_async_context(open_vault(settings, client))
        envelope = Envelope(MasterKeys(settings.vault.master_keys))
        source = await stack.enter_async_context(open_source(settings, vault, envelope))
        beside = given is not None and given.beside
        credentials = await stack.enter_async_context(
            live_credentials(source, settings.vault.poll, traffic, beside=beside)
        )
        admission = Admission(open_lines(settings.store, PREPARE), prefix)
        stack.push_async_callback(admission.close)
        gauges = GaugeSampler(traffic, admission.ping)
        gatekeeper = _gatekeeper(settings, keys, admission, traffic, gauges, stack)
        usage = await stack.enter_async_context(open_usage(settings.store))
        audit = await stack.enter_async_context(open_audit(settings, client, envelope.keys))
        gauges.track(traffic.audit_lag, lambda: audit.lag)
        gauges.track(traffic.policies_revision, lambda: _as_number(policies().revision))
        in_background(gauges.run, stack)
        in_background(partial(watch_loop, traffic.loop_lag.observe), stack)
        log_level = LogLevel(LogLevelStore(client, prefix), settings.log_level)
        in_background(log_level.watch, stack)
        yield Foundation(
            settings=settings,
            policies=policies,
            client=client,
            keys=keys,
            traffic=traffic,
            credentials=credentials,
            gatekeeper=gatekeeper,
            admission=admission,
            usage=usage,
            audit=audit,
            vault=vault,
            envelope=envelope,
            links=Links(LinkStore(client, prefix)),
            workers=WorkerStore(client, prefix),
            log_level=log_level,
            worker=worker,
        )


def _gatekeeper(
    settings: Settings,
    keys: KeyStore,
    admission: Admission,
    traffic: Traffic,
    gauges: GaugeSampler,
    stack: AsyncExitStack,
) -> Gatekeeper:
    peppers = Peppers(settings.peppers)
    argon2 = Argon2Pool(on_run=traffic.argon2_runs.inc, on_end=traffic.argon2_seconds.observe)
    stack.callback(argon2.close)
    gauges.track(traffic.argon2_under_way, lambda: argon2.under_way)

    async def write_tag(key_id: str, phc: str, tag: str, slot: Slot) -> None:
        await keys.write_tag(key_id, phc, tag, peppers.ids, slot is Slot.PREVIOUS)

    authenticator = Authenticator(peppers, argon2, write_tag, time.monotonic)
    stack.push_async_callback(authenticator.close)
    leases = Leases(admission)
    stack.push_async_callback(leases.close)
    gauges.track(traffic.leases, lambda: leases.held)
    return Gatekeeper(authenticator, admission, leases, Clocks(time.monotonic, time.time))


def _as_number(revision: str) -> float:
    """Return equal numbers for equal revisions. As a label, each revision would stay for ever."""
    try:
        return int(revision[:REVISION_DIGITS], 16)
    except ValueError:
        return 0


def _worker(given: Handover | None, settings: Settings, stack: AsyncExitStack) -> Worker | None:
    if given is None:
        return None
    worker = Worker(given, settings.max_requests)
    stack.callback(worker.close)
    return worker


async def _warn_of_store(client: Redis) -> None:
    """Log warnings. A store that does not answer yet is waited for; an unusable one ends this."""
    try:
        for warning in await examine(client):
            log.warning("store_settings", warning=warning)
    except StoreError as problem:
        log.warning("store_unreachable", reason=str(problem))
