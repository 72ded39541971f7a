"""`gateway serve`."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.audit_settings import read_audit
from gateway.cli.command import command
from gateway.cli.listener_options import listener_options
from gateway.cli.logs import FORMATS, configure
from gateway.cli.options import (
    check_exposure,
    policies_option,
    read_address,
    read_admin_store,
    read_as,
    read_duration,
    read_peppers,
    setting,
    store_options,
    web_url,
)
from gateway.cli.privacy import keep_private
from gateway.cli.tool_options import tool_options, with_hidden
from gateway.cli.vault_options import read_vault
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

# What no program that is started from here has to know.
SECRETS = (
    *("GATEWAY_MASTER_KEY", "GATEWAY_PEPPER"),
    *("GATEWAY_REDIS_URL", "GATEWAY_VAULT_REDIS_URL", "GATEWAY_ADMIN_REDIS_URL"),
)
_IN_CLEAR = (
    "The admin listener {} can be reached from outside without TLS: operators' keys and new ones "
    "cross the network in clear. Give --tls-cert and --tls-key, or keep that network to yourself."
)


def _check_workers(_: click.Context, option: click.Parameter, workers: int) -> int:
    """BadParameter where they would take the machine down before they served."""
    cores = os.cpu_count() or 1
    if workers > most_workers(cores):
        told = f"more than {most_workers(cores)} are not started here: {crowding(workers, cores)}"
        raise click.BadParameter(told, param=option)
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
    help="Where the admin API, the console and /metrics are; /metrics is keyless on loopback, else "
    "for keys with gateway/read.",
)
@store_options
@policies_option
@setting(
    "--workers",
    default=1,
    type=click.IntRange(1),
    callback=_check_workers,
    help="Worker processes on the same addresses, one or two a core; at most 64, or four a core. "
    "SIGUSR2 replaces them one by one.",
)
@setting(
    "--max-requests",
    metavar="N",
    default=0,
    type=click.IntRange(0),
    help="Replace a worker after so many requests, and up to a tenth more; 0: never. One worker "
    "too gets a supervisor then.",
)
@setting(
    "--drain",
    metavar="DURATION",
    default="30s",
    callback=read_duration,
    help="How long requests under way may take to end after SIGTERM.",
)
@setting(
    "--shutdown-delay",
    metavar="DURATION",
    default="0",
    callback=read_as(span),
    help="How long after SIGTERM /readyz says 503 and callers are still served, before the drain: "
    "what load balancers need to look elsewhere. A second signal ends it.",
)
@setting(
    "--stream-unchecked",
    metavar="DURATION",
    default="60s",
    callback=read_duration,
    help="How long open streams live on while Redis cannot be asked for their keys.",
)
@listener_options
@tool_options
@setting(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="Serve HTTPS, on the admin listener beyond loopback too: the certificate with its chain, "
    "in PEM. A renewed file is taken within 2 s, without a restart.",
)
@setting(
    "--tls-key",
    type=click.Path(path_type=Path),
    help="Its private key, in PEM, without a password.",
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
    help="One line a request: a file, '-' for stdout, 'off' for none; a rotated file is made anew.",
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
    help="The least that is logged, until the admin API changes it.",
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


def _start(settings: Settings, workers: int, given: Handover | None) -> None:
    several = given is None and (workers > 1 or settings.max_requests > 0)
    if not several:
        # Who serves starts programs too; a supervisor's workers read all this anew.
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
    """Whether OpenTelemetry's own variables name somebody who takes traces."""
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
    from gateway.server import end_by

    # Read once, at the first look-up. Of uvloop's four, two would look up names, and two names
    # of agents whose name server is silent would take both for as long as somebody calls them.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(LOOKUP_THREADS))
    uvloop.run(run_gateway(settings, given=given, ends_by=end_by))


def run_several(settings: Settings, workers: int) -> None:
    from gateway.workers.supervisor import supervise

    if crowded := crowding(workers, os.cpu_count() or 1):
        log.warning("workers_crowded", reason=crowded)
    sys.exit(asyncio.run(supervise(settings, workers)))
