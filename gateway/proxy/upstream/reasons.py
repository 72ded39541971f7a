"""Why an upstream was not reached: what is wrong there, in words that lead operators on."""

import os
import socket
import ssl

from gateway.proxy.upstream.connection import UpstreamLostError

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})
_CERTIFICATE_WANTED = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


class ProxyError(OSError):
    """The proxy on the way stands against it, not the upstream."""


def reason_of(problem: BaseException | None) -> str:
    """`problem`: as it was raised; None: there was only no time left."""
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
            # asyncio's own text is the address, which is told anyway.
            return os.strerror(problem.errno)
    return str(problem) or "no connection"


def _of_tls(reason: str) -> str:
    if reason in _NO_TLS:
        return "it speaks no TLS: is its URL one of http://?"
    if reason == _CERTIFICATE_WANTED:
        return "it asks for a client certificate: give it 'cert' and 'key'"
    return f"no TLS handshake ({reason})"
