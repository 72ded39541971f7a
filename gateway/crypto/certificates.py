"""The validity period of certificates."""

from pathlib import Path

from cryptography import x509

from gateway.crypto.tls import server_context
from gateway.domain.errors import OperationError


def validity(cert: str, key: str) -> tuple[float, float]:
    """Return the period, in Unix seconds, in which every certificate of the chain in `cert` is
    valid. OperationError if it cannot be read, or if `key` is not its key."""
    server_context(cert, key)
    try:
        chain = x509.load_pem_x509_certificates(Path(cert).read_bytes())
    except (OSError, ValueError):
        raise OperationError(f"{cert}: this is not a certificate in PEM") from None
    return (
        max(one.not_valid_before_utc.timestamp() for one in chain),
        min(one.not_valid_after_utc.timestamp() for one in chain),
    )
