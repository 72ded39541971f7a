"""Redis' failures, translated into errors of this package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from gateway.domain.errors import StoreError, UnreachableError

# After this, Redis repeats the arguments of a command that it does not know: hashes, and its own
# password.
_ARGUMENTS = ", with args"
# To whoever gives no login, Redis speaks of the commands of its clients.
_NO_LOGIN = (
    "HELLO must be called with the client already authenticated",
    "Authentication required",
)
# Behind an error of a script.
_PLACE = re.compile(r" script: [0-9a-f]{40}, on @user_script:\d+\.?$")


class StoreFullError(StoreError):
    """Redis refuses writes for lack of memory."""


class WrongTypeError(StoreError):
    """The name holds a value of another type, which somebody else stored there."""


class UnknownScriptError(StoreError):
    """Redis was restarted or flushed and has forgotten the script. Nothing ran."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise redis-py's errors as StoreError, in one sentence."""
    try:
        yield
    except NoScriptError as problem:
        raise UnknownScriptError(str(problem)) from None
    except OutOfMemoryError:
        raise StoreFullError(
            "Redis is full and refuses writes: raise its maxmemory or delete what is not needed."
        ) from None
    except ResponseError as problem:
        if "WRONGTYPE" in str(problem):
            raise WrongTypeError(
                "A name in Redis holds something of another type than the gateway keeps there: "
                "look at it with 'gateway redis -- TYPE NAME'."
            ) from None
        raise StoreError(f"Redis refused the command: {reason_of(problem)}") from None
    except (RedisError, RedisClusterException, OSError) as problem:
        raise UnreachableError(f"Redis could not answer: {_why_away(problem)}") from None


def _why_away(problem: Exception) -> str:
    reason = reason_of(problem)
    # Of a cluster, it stands behind a sentence of redis-py's.
    if any(said in reason for said in _NO_LOGIN):
        return "it wants a login: write it into the URL, as in redis://user:password@host:6379."
    return reason


def reason_of(problem: Exception) -> str:
    """Return the error's text from Redis or the system, without the arguments of any command."""
    text = _PLACE.sub(".", without_arguments(str(problem)))
    return text or type(problem).__name__


def without_arguments(text: str) -> str:
    return text.partition(_ARGUMENTS)[0]
