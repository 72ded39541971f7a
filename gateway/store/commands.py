"""Commands that reply in bytes, the scripts in `scripts/`, and batches of commands."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.log import log
from gateway.store.connections.failures import UnknownScriptError, WrongTypeError, translated

# How many records one round trip asks for.
BATCH = 500

T = TypeVar("T")


def in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in order, at most BATCH at a time."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


async def command(client: Redis, *words: str | bytes | int, **options: bool) -> Any:
    """Return the reply as bytes: values that were set by hand may not be UTF-8, and must not break
    the connection."""
    with translated():
        return await client.execute_command(*words, **{NEVER_DECODE: True, **options})


async def ask_all(client: Redis, commands: Iterable[Sequence[str | bytes]]) -> list[Any]:
    """Return the replies to all commands, as bytes, in one round trip for each node; a command that
    failed has its error in place of a reply. The second word of each is the name that it reads."""
    pipeline = client.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words, **{NEVER_DECODE: True})
    with translated():
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers


async def redis_now(client: Redis) -> int:
    """Return the Unix second by Redis' clock."""
    with translated():
        seconds, _ = await client.time()
    return int(seconds)


async def run(
    client: Redis, script: str, names: Sequence[str], arguments: Sequence[str | bytes]
) -> Any:
    """Run `scripts/<script>.lua` on these names, in one round trip if Redis knows the script."""
    text, digest = source(script)
    rest = (str(len(names)), *names, *arguments)
    try:
        return await command(client, "EVALSHA", digest, *rest)
    except UnknownScriptError:
        return await command(client, "EVAL", text, *rest)


def as_answer(answer: Any) -> Any:
    """Return the answer; StoreError if it is an error, which must not look like a missing key."""
    if not isinstance(answer, Exception):
        return answer
    with translated():
        raise answer


def value_or_none(answer: Any) -> Any:
    """Return the answer, or None if the name holds a value of another type."""
    try:
        return as_answer(answer)
    except WrongTypeError:
        return None


def value_or_logged(name: str, answer: Any) -> Any:
    """Like `value_or_none`, but log it: `gateway doctor` does not look at these names."""
    value = value_or_none(answer)
    if value is None:
        log.warning("record_strange", name=name)
    return value


def number_or_none(value: bytes | None) -> int | None:
    """Return the number if Redis could have counted to it, in 64 bits: `int` raises at long
    ones."""
    return int(value) if value and len(value) < 20 and value.isdigit() else None


@cache
def source(name: str) -> tuple[str, str]:
    """Return the text of `scripts/<name>.lua`, and its digest."""
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
