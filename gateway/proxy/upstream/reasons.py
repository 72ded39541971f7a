"""Why an upstream was not reached, in words that tell operators what to do."""

import os
import socket
import ssl

from gateway.proxy.upstream.connection import UpstreamLostError

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})
_CERTIFICATE_WANTED = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


class ProxyError(OSError):
    """The proxy on the way failed, not the upstream."""


def reason_of(problem: BaseException | None) -> str:
    """Return a phrase for the exception `problem`; None: the time ran out."""
    match problem:
        case UpstreamLostError() | ProxyError():
            why = problem.__cause__
            said = str(problem).removesuffix(".")
            return said if why is None else f"{said}: {reason_of(why)}"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not believed ({problem.verify_message})"
        case ssl.SSLError():
            return _of_tls(problem.reason or "it was cut")
        case None | TimeoutError():
            return "no connection in time"
        case socket.gaierror():
            return f"its name leads nowhere ({problem.strerror})"
        case OSError() if problem.errno:
            # asyncio's own text is the address, which the log line has anyway.
            return os.strerror(problem.errno)
    return str(problem) or "no connection"


def _of_tls(reason: str) -> str:
    if reason in _NO_TLS:
        return "it speaks no TLS: is its URL one of http://?"
    if reason == _CERTIFICATE_WANTED:
        return "it asks for a client certificate: give it 'cert' and 'key'"
    return f"no TLS handshake ({reason})"
