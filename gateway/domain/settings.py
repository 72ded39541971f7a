"""The settings of one gateway process. The command line reads them once, at start."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.domain.audit.settings import AuditSettings
from gateway.domain.children import ChildSettings
from gateway.domain.policies.addresses import is_loopback

# From the most to the least verbose.
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Address:
    """A `host:port` to listen on."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# Default addresses of the data listener and the admin listener.
LISTEN, ADMIN_LISTEN = "127.0.0.1:8080", "127.0.0.1:8081"


def data_url(listen: Address, *, tls: bool) -> str:
    """Return the URL of the data listener as seen from its own machine."""
    everywhere = listen.host in ("0.0.0.0", "::")  # noqa: S104
    address = replace(listen, host="127.0.0.1") if everywhere else listen
    return f"{'https' if tls else 'http'}://{address}"


def parse_address(text: str) -> Address:
    """Parse `127.0.0.1:8080` or `[::1]:8080`; ValueError says what is expected."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:8080 or [::1]:8080")
    return Address(host, int(port))


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """What one caller's connection may cost. Sizes are in bytes, times in seconds.

    `head`: idle time before a request plus the time for its whole head. `body_idle`: the gap
    between two pieces of a body. `keep_alive`: idle time between two requests. `send_idle`: how
    long a caller may read nothing of its answer. `body_rate`: the average bytes per second that a
    body must arrive at, after the first `body_idle` seconds. `max_message`: a WebSocket message,
    all its fragments together, in either direction. `max_connections`: of one process at one
    address. `max_held`: all bodies that one process buffers whole.
    """

    max_line: int = 8190
    max_header: int = 8190
    max_headers: int = 100
    head: float = 10.0
    body_idle: float = 30.0
    keep_alive: float = 75.0
    send_idle: float = 60.0
    body_rate: float = 16.0
    max_message: int = 2**24
    max_connections: int = 10_000
    max_held: int = 2**29


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the records are. `url` None: the embedded store in `state_dir`."""

    url: str | None
    state_dir: Path
    prefix: str = "gw:"
    timeout: float = 1.0

    @property
    def url_is_public(self) -> bool:
        """Whether the URL holds no password, so that it may be shown."""
        return not {"@", "?"} & set(self.url or "")

    @property
    def redis_cli(self) -> str:
        """The beginning of a command line that behaves like redis-cli and reaches the store."""
        url = self.url or ""
        if url.startswith("unix://"):
            return f"redis-cli -s {shlex.quote(unquote(urlsplit(url).path))}"
        if "+" in url.partition("://")[0]:
            return "gateway redis --"
        place = shlex.quote(url) if self.url_is_public else '"$GATEWAY_REDIS_URL"'
        return f"redis-cli -u {place}"


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where outbound credentials are, and which keys decrypt them. `url` None: in the store of the
    keys.

    `master_keys`: 32 bytes each, the current one first. `poll`: seconds between two checks for
    changes.
    """

    url: str | None = None
    master_keys: tuple[bytes, ...] = field(default=(), repr=False)
    poll: float = 15.0

    def place(self, store: StoreSettings) -> StoreSettings:
        """Return the settings of the store that holds the vault."""
        return store if self.url is None else replace(store, url=self.url)


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """Where the access log goes; `path` None: stdout."""

    path: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files: the listener's certificate with its chain, and the private key."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of `gateway serve`. `peppers`: 32 bytes each, the current one first.

    `admin_store`: the store as operators reach it, if they use another login. `shutdown_delay`:
    seconds for which requests are still served after the end was announced to load balancers.
    `stream_unchecked`: seconds for which open answers continue while Redis cannot be asked. `tls`
    None: plain HTTP. `access_log` None: none is written. `max_requests`: after how many requests a
    worker is replaced; 0: never. `children`: how tool programs run. `traces`: whether a receiver of
    traces is configured. `url`: where users reach the data listener; empty: its listen address.
    """

    listen: Address
    admin_listen: Address
    policies: Path
    store: StoreSettings
    peppers: tuple[bytes, ...] = field(default=(), repr=False)
    vault: VaultSettings = VaultSettings()
    drain: float = 30.0
    shutdown_delay: float = 0.0
    limits: ListenerLimits = ListenerLimits()
    stream_unchecked: float = 60.0
    tls: ServerTls | None = None
    access_log: AccessLogSettings | None = None
    max_requests: int = 0
    admin_store: StoreSettings | None = field(default=None, repr=False)
    log_level: str = "info"
    audit: AuditSettings = field(default_factory=AuditSettings)
    traces: bool = False
    children: ChildSettings = field(default_factory=ChildSettings)
    url: str = ""
