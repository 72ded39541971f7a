"""`gateway serve`."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.audit_settings import read_audit
from gateway.cli.command import command
from gateway.cli.listener_options import listener_options
from gateway.cli.logs import FORMATS, configure
from gateway.cli.options import (
    Whole,
    check_exposure,
    policies_option,
    read_address,
    read_admin_store,
    read_as,
    read_duration,
    setting,
    store_options,
    web_url,
)
from gateway.cli.privacy import keep_private
from gateway.cli.secret_settings import read_peppers
from gateway.cli.tool_options import tool_options, with_hidden
from gateway.cli.vault_settings import read_vault
from gateway.domain.children import ChildSettings
from gateway.domain.errors import UsageError
from gateway.domain.settings import (
    ADMIN_LISTEN,
    LISTEN,
    LOG_LEVELS,
    AccessLogSettings,
    Address,
    ListenerLimits,
    ServerTls,
    Settings,
    StoreSettings,
)
from gateway.domain.units import span
from gateway.domain.workers import crowding, most_workers
from gateway.log import log
from gateway.workers.handover import Handover, take

# Removed from the environment, which programs started from here would inherit.
SECRETS = (
    *("GATEWAY_MASTER_KEY", "GATEWAY_PEPPER"),
    *("GATEWAY_REDIS_URL", "GATEWAY_VAULT_REDIS_URL", "GATEWAY_ADMIN_REDIS_URL"),
)
_IN_CLEAR = (
    "The admin listener {} can be reached from outside without TLS: operators' keys and new keys "
    "cross the network in clear text. Give --tls-cert and --tls-key, or use a private network."
)


def _check_workers(_: click.Context, option: click.Parameter, workers: int) -> int:
    """Refuse more workers than the machine could start."""
    cores = os.cpu_count() or 1
    if workers > most_workers(cores):
        message = f"at most {most_workers(cores)} on this machine: {crowding(workers, cores)}"
        raise click.BadParameter(message, param=option)
    return workers


@command(
    "gateway serve --listen 127.0.0.1:8080 --policies policies/",
    "gateway serve --listen 0.0.0.0:8080 --redis redis://redis:6379/0 --workers 4",
    notes="Every option can also be set in the environment: --listen is GATEWAY_LISTEN. Secrets "
    "are read from the environment only: GATEWAY_PEPPER_FILE, GATEWAY_MASTER_KEY_FILE.",
)
@setting(
    "--listen",
    metavar="ADDRESS",
    default=LISTEN,
    callback=read_address,
    help="Where callers reach the agents.",
)
@setting(
    "--admin-listen",
    metavar="ADDRESS",
    default=ADMIN_LISTEN,
    callback=read_address,
    help="Where the admin API, the console and /metrics are. /metrics needs a key with "
    "gateway/read, except on loopback.",
)
@store_options
@policies_option
@setting(
    "--workers",
    default=1,
    type=Whole(1),
    callback=_check_workers,
    help="The number of worker processes on the same addresses: one or two a core; at most 64, or "
    "four a core. SIGUSR2 replaces them one by one.",
)
@setting(
    "--max-requests",
    metavar="N",
    default=0,
    type=Whole(0),
    help="Replace a worker after this many requests and up to a tenth more; 0: never. Even a "
    "single worker then runs under a supervisor.",
)
@setting(
    "--drain",
    metavar="DURATION",
    default="30s",
    callback=read_duration,
    help="How long running requests may take to end after SIGTERM.",
)
@setting(
    "--shutdown-delay",
    metavar="DURATION",
    default="0",
    callback=read_as(span),
    help="How long after SIGTERM /readyz answers 503 while callers are still served, before the "
    "drain: the time that load balancers need to notice. A second signal ends it.",
)
@setting(
    "--stream-unchecked",
    metavar="DURATION",
    default="60s",
    callback=read_duration,
    help="How long open streams go on while Redis cannot be asked about their keys.",
)
@listener_options
@tool_options
@setting(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="Serve HTTPS, also on an admin listener beyond loopback: the certificate with its chain, "
    "in PEM. A renewed file is used within 2 s, without a restart.",
)
@setting(
    "--tls-key",
    type=click.Path(path_type=Path),
    help="The private key of --tls-cert, in PEM, without a password.",
)
@setting(
    "--embedded",
    is_flag=True,
    help="Allow the embedded store on a gateway that listens beyond loopback.",
)
@setting(
    "--access-log",
    metavar="FILE",
    default="-",
    help="Where one line a request is written: a file, '-' for stdout, or 'off'. After an external "
    "rotation the file is created again.",
)
@setting(
    "--log-format",
    type=click.Choice(FORMATS),
    default="auto",
    help="auto: text on a terminal, JSON elsewhere.",
)
@setting(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    help="The lowest level that is logged; the admin API can change it.",
)
def serve(
    listen: Address,
    admin_listen: Address,
    store: StoreSettings,
    policies: Path,
    workers: int,
    max_requests: int,
    drain: float,
    shutdown_delay: float,
    stream_unchecked: float,
    limits: ListenerLimits,
    children: ChildSettings,
    tls_cert: Path | None,
    tls_key: Path | None,
    embedded: bool,
    access_log: str,
    log_format: str,
    log_level: str,
) -> None:
    """Serve the data listener until SIGTERM or Ctrl-C; SIGHUP reloads the policies."""
    _outlive_signals()
    keep_private()
    given = take(os.environ)
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both or neither.")
    check_exposure((listen, admin_listen), store, embedded=embedded)
    configure(log_format, log_level)
    if given is None and not (tls_cert or admin_listen.is_loopback):
        log.warning("admin_in_clear", reason=_IN_CLEAR.format(admin_listen))
    settings = Settings(
        listen=listen,
        admin_listen=admin_listen,
        policies=policies,
        store=store,
        peppers=read_peppers(store),
        vault=read_vault(store, (listen, admin_listen), _warn, embedded=embedded),
        drain=drain,
        shutdown_delay=shutdown_delay,
        stream_unchecked=stream_unchecked,
        limits=limits,
        tls=ServerTls(str(tls_cert), str(tls_key)) if tls_cert and tls_key else None,
        access_log=_access_log(access_log, log_format),
        max_requests=max_requests,
        log_level=log_level,
        audit=read_audit(),
        traces=asks_for_traces(),
        children=children,
        admin_store=read_admin_store(store),
        url=web_url("GATEWAY_URL", url) if (url := os.environ.get("GATEWAY_URL")) else "",
    )
    settings = with_hidden(settings, Path(given.shared) if given else None)
    _start(settings, workers, given)


def _outlive_signals() -> None:
    """Let the process not be ended by signals that it only handles once it serves, or, as a single
    process or a worker, never."""
    for number in (signal.SIGHUP, signal.SIGUSR2):
        # Unlike SIG_IGN, this is not inherited by programs that are started from here.
        signal.signal(number, lambda *_: None)


def _start(settings: Settings, workers: int, given: Handover | None) -> None:
    several = given is None and (workers > 1 or settings.max_requests > 0)
    if not several:
        # Only a process that serves starts tools; the workers of a supervisor read these again.
        for name in SECRETS:
            os.environ.pop(name, None)
    if given is not None:
        url = given.store or settings.store.url
        run(replace(settings, store=replace(settings.store, url=url)), given)
    elif several:
        run_several(settings, workers)
    else:
        run(settings)


def _warn(sentence: str) -> None:
    log.warning("master_key", reason=sentence)


def asks_for_traces() -> bool:
    """Whether OpenTelemetry's own variables name a receiver of traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER") not in (None, "", "otlp"):
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(map(os.environ.get, names))


def _access_log(place: str, log_format: str) -> AccessLogSettings | None:
    if place == "off":
        return None
    as_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    return AccessLogSettings(None if place == "-" else Path(place), as_json)


def run(settings: Settings, given: Handover | None = None) -> None:
    # Imported late: `gateway serve --help` must not pay for it.
    import uvloop

    from gateway.app import LOOKUP_THREADS, run_gateway
    from gateway.signals import end_by

    # uvloop reads this at its first name lookup. Of its default four threads two look up names: two
    # agents whose name server is silent would block both for as long as somebody calls them.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(LOOKUP_THREADS))
    uvloop.run(run_gateway(settings, given=given, ends_by=end_by))


def run_several(settings: Settings, workers: int) -> None:
    from gateway.workers.supervisor import supervise

    if crowded := crowding(workers, os.cpu_count() or 1):
        log.warning("workers_crowded", reason=crowded)
    sys.exit(asyncio.run(supervise(settings, workers)))
