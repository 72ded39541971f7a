"""Secrets that the environment names or holds: peppers, master keys, an agent's key."""

import binascii
import os
from base64 import b64decode
from pathlib import Path

from gateway.domain.errors import UsageError
from gateway.domain.settings import StoreSettings
from gateway.store.state_dir import KEY_BYTES, PEPPER, own_key


def read_peppers(store: StoreSettings) -> tuple[bytes, ...]:
    """Return the peppers, 32 bytes each, the current one first.

    They come from GATEWAY_PEPPER_FILE or GATEWAY_PEPPER. Without these, the embedded store makes
    one in its state directory.
    """
    given = read_keys("GATEWAY_PEPPER")
    if given is None and store.url is None:
        return parse_keys("the state directory's pepper", own_key(store.state_dir, PEPPER))
    return given or ()


def read_keys(variable: str) -> tuple[bytes, ...] | None:
    """The keys that the operator gave in a file or in the environment; None if in neither."""
    found = read_secret(variable)
    return None if found is None else parse_keys(*found)


def read_secret(variable: str) -> tuple[str, str] | None:
    """The variable that gives the secret, and its text: VARIABLE_FILE names a file and wins over
    VARIABLE, which holds the text itself. None if neither is set."""
    named = f"{variable}_FILE"
    if path := os.environ.get(named):
        try:
            return named, Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{named}: {path} cannot be read.") from None
    text = os.environ.get(variable)
    return (variable, text) if text else None


def parse_keys(source: str, text: str) -> tuple[bytes, ...]:
    found = []
    for item in text.replace(",", " ").split():
        try:
            found.append(b64decode(item, validate=True))
        except (binascii.Error, ValueError):
            found.append(b"")
    if not found or any(len(key) != KEY_BYTES for key in found):
        raise UsageError(
            f"{source} must hold 32 random bytes in base64, such as 'openssl rand -base64 32' "
            "prints; several are separated by spaces, the current one first."
        )
    return tuple(found)
