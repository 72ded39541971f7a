"""Keys that open nothing."""

from gateway.crypto.draw import draw
from gateway.domain.keys.key import Key, compose


def wrong(key: Key) -> str:
    """A well-formed key with this id and another secret."""
    return compose("live", key.id, draw(32)).text


def unknown() -> str:
    return compose("live", draw(12), draw(32)).text
