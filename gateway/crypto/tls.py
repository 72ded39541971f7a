"""TLS contexts made of files in PEM, and made again when the files have changed."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.errors import OperationError
from gateway.domain.policies.snapshot import ClientTls

Stamps = tuple[tuple[int, int, int], ...]
ALPN = ["http/1.1"]


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """For calls to an upstream, always verified; OperationError names the file that is no good."""
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as problem:
        raise OperationError(f"{tls.ca}: {_reason(problem)}") from None
    if tls.cert:
        _load_chain(context, tls.cert, tls.key)
    context.set_alpn_protocols(ALPN)
    return context


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """For a listener; OperationError names the file that is no good."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_chain(context, cert, key)
    context.set_alpn_protocols(ALPN)
    return context


def _load_chain(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Certificate and key; OperationError where they are no pair."""
    try:
        # Without this an encrypted key would ask on the terminal and wait for ever.
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as problem:
        raise OperationError(f"{cert}, {key}: {_reason(problem)}") from None


def stamps(*paths: str) -> Stamps:
    """What changes when one of these files does; a file that is not there counts as nothing."""
    return tuple(_stamp(Path(path)) for path in paths if path)


@dataclass(slots=True)
class _Made:
    context: ssl.SSLContext
    stamps: Stamps


class ClientContexts:
    """One context for each set of files, made anew after a renewal on disk. `on_refused` is told
    why a new set cannot be used: the good one stays, since files are renewed one by one."""

    def __init__(self, on_refused: Callable[[str], object]) -> None:
        self._on_refused = on_refused
        self._made: dict[ClientTls, _Made] = {}

    def get(self, tls: ClientTls) -> ssl.SSLContext:
        """OperationError where the files were never any good."""
        now = stamps(tls.ca, tls.cert, tls.key)
        made = self._made.get(tls)
        if made is None:
            made = self._made[tls] = _Made(client_context(tls), now)
        elif made.stamps != now:
            made.stamps = now
            try:
                made.context = client_context(tls)
            except OperationError as problem:
                self._on_refused(str(problem))
        return made.context


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _no_password() -> bytes:
    raise ValueError("the key is encrypted: store it decrypted, readable by the gateway alone")


def _reason(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLError):
        return f"this is not a usable certificate or key in PEM ({problem.reason or 'unreadable'})"
    return str(getattr(problem, "strerror", None) or problem)
