"""Ids of requests and traces: unique, not secret."""

import secrets
from itertools import count
from random import Random


class Ids:
    """Request ids are a random prefix of this process and a counter; trace ids are random."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)
        # Ids need not be secret, and the system's generator costs a system call a request.
        self._traces = Random(secrets.randbits(256))  # noqa: S311

    def request_id(self) -> str:
        return f"req_{self._prefix}{next(self._numbers):08x}"

    def trace(self) -> tuple[str, str]:
        """Return a new W3C trace id and span id."""
        digits = self._traces.randbytes(24).hex()
        return digits[:32], digits[32:]
