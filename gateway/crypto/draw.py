"""Randomness for keys, and for the tokens of links and browser sessions."""

import secrets
from hashlib import sha256

from gateway.domain.keys.key import ALPHABET

TOKEN_LENGTH = 32


def draw(length: int) -> str:
    """Return `length` base62 characters from the operating system's CSPRNG, each equally likely."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def is_token(text: str) -> bool:
    return len(text) == TOKEN_LENGTH and text.isascii() and text.isalnum()


def digest(text: str) -> str:
    """Return the digest that is stored in place of a token."""
    return sha256(text.encode()).hexdigest()
