"""TLS contexts made from PEM files, and made anew when the files change."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.errors import OperationError
from gateway.domain.policies.snapshot import ClientTls

Stamps = tuple[tuple[int, int, int], ...]
ALPN = ["http/1.1"]


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Return a verifying context for calls to an upstream; OperationError names an unusable
    file."""
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as problem:
        raise OperationError(f"{tls.ca}: {_reason(problem)}") from None
    if tls.cert:
        _load_chain(context, tls.cert, tls.key)
    context.set_alpn_protocols(ALPN)
    return context


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """Return a context for a listener; OperationError names the unusable file."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_chain(context, cert, key)
    context.set_alpn_protocols(ALPN)
    return context


def _load_chain(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load certificate and key; OperationError if they do not belong together."""
    try:
        # Without this, an encrypted key would prompt on the terminal and wait for ever.
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as problem:
        raise OperationError(f"{cert}, {key}: {_reason(problem)}") from None


def stamps(*paths: str) -> Stamps:
    """Return values that change when one of these files does; a missing file counts as zeros."""
    return tuple(_stamp(Path(path)) for path in paths if path)


@dataclass(slots=True)
class _Made:
    context: ssl.SSLContext
    stamps: Stamps


class ClientContexts:
    """One context for each set of files, made anew after a renewal on disk. `on_refused` is told
    why a new set cannot be used. The previous context stays then, because files are renewed one by
    one."""

    def __init__(self, on_refused: Callable[[str], object]) -> None:
        self._on_refused = on_refused
        self._made: dict[ClientTls, _Made] = {}

    def get(self, tls: ClientTls) -> ssl.SSLContext:
        """Return the context; OperationError if the files were never usable."""
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
