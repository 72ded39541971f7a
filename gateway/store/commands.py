"""Commands whose answers are bytes, the scripts beside this file, and one answer of many: a value,
nothing, or an error."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.log import log
from gateway.store.connections.failures import StrangeError, UnknownScriptError, translated

# How many records one round trip asks for.
BATCH = 500

T = TypeVar("T")


def in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in order, at most BATCH at a time."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


async def command(client: Redis, *words: str | bytes | int, **options: bool) -> Any:
    """Bytes: what was set by hand may be anything, and must not break the connection."""
    with translated():
        return await client.execute_command(*words, **{NEVER_DECODE: True, **options})


async def ask_all(client: Redis, commands: Iterable[Sequence[str | bytes]]) -> list[Any]:
    """The answers to all of these commands in one round trip, as bytes; an error stands in the
    place of the answer that it is. A command's second word is the name that it asks about."""
    pipeline = client.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words, **{NEVER_DECODE: True})
    with translated():
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers


async def redis_now(client: Redis) -> int:
    """Redis' own clock, in Unix seconds."""
    with translated():
        seconds, _ = await client.time()
    return int(seconds)


async def run(
    client: Redis, script: str, names: Sequence[str], arguments: Sequence[str | bytes]
) -> Any:
    """`scripts/<script>.lua` on these names, in one round trip where Redis knows it."""
    text, digest = source(script)
    rest = (str(len(names)), *names, *arguments)
    try:
        return await command(client, "EVALSHA", digest, *rest)
    except UnknownScriptError:
        return await command(client, "EVAL", text, *rest)


def as_answer(answer: Any) -> Any:
    """StoreError where it is an error: not knowing must not look like a key that is gone."""
    if not isinstance(answer, Exception):
        return answer
    with translated():
        raise answer


def value_or_none(answer: Any) -> Any:
    """None where the name holds something that is no record."""
    try:
        return as_answer(answer)
    except StrangeError:
        return None


def value_or_told(name: str, answer: Any) -> Any:
    """The same, with a line in the log: `gateway doctor` does not look at names such as this."""
    value = value_or_none(answer)
    if value is None:
        log.warning("record_strange", name=name)
    return value


def number_or_none(value: bytes | None) -> int | None:
    """None where it is no number that Redis could have counted up to, which 64 bits hold: `int`
    raises at what is too long."""
    return int(value) if value and len(value) < 20 and value.isdigit() else None


@cache
def source(name: str) -> tuple[str, str]:
    """`scripts/<name>.lua`, and its digest."""
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
