"""Randomness for keys."""

import secrets

from gateway.domain.keys.key import ALPHABET


def draw(length: int) -> str:
    """`length` base62 characters from the operating system's CSPRNG, each equally likely."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
