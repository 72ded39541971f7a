"""Digests by which a process remembers a token that it has seen, without keeping the token."""

import secrets
from hashlib import blake2b

_DIGEST_BYTES = 16


class TokenDigest:
    """Keyed BLAKE2 under a random key of this process: useless outside it, even in a core dump."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def __call__(self, token: bytes) -> bytes:
        return blake2b(token, digest_size=_DIGEST_BYTES, key=self._key).digest()
