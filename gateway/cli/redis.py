"""`gateway redis -- RAW…`: raw commands to the store in use, for people without redis-cli."""

import asyncio
import os
import sys
from collections.abc import Iterable
from typing import Any

import click
import orjson
from redis.exceptions import RedisError, ResponseError

from gateway.cli.command import command
from gateway.cli.options import json_option, store_options
from gateway.domain.errors import OperationError, UnreachableError, UsageError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import resolved
from gateway.store.connections.raw import ask

# Commands that never end, or that change the protocol of the connection.
ENDLESS = frozenset({"MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "SYNC", "PSYNC", "HELLO"})


@command(
    "gateway redis -- HSET 'gw:key:{ID}' status revoked",
    context_settings={"ignore_unknown_options": True},
)
@store_options
@json_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def redis(words: tuple[str, ...], store: StoreSettings, as_json: bool) -> None:
    """Send one raw command to the store in use and print the answer as redis-cli does."""
    if not words:
        raise UsageError("Give a Redis command after '--', such as: gateway redis -- PING")
    if words[0].upper() in ENDLESS:
        raise UsageError(f"{words[0].upper()} never ends: use redis-cli for it.")
    answer = asyncio.run(_ask(words, store))
    if as_json:
        click.echo(orjson.dumps(_plain(answer)))
    else:
        shown = "\n".join(lines(answer, quoted=sys.stdout.isatty()))
        click.echo(shown.encode("utf-8", "surrogateescape"))


async def _ask(words: tuple[str, ...], settings: StoreSettings) -> Any:
    async with resolved(settings) as found:
        try:
            # The bytes that the shell passed: a value need not be text.
            return await ask(found, [os.fsencode(word) for word in words])
        except ResponseError as refused:
            raise OperationError(f"(error) {refused}") from None
        except (RedisError, OSError) as problem:
            raise UnreachableError(f"Redis could not answer: {problem}") from None


def lines(answer: Any, *, quoted: bool) -> list[str]:
    """Format `answer` as redis-cli does; `quoted`: as it does on a terminal."""
    if answer is None:
        return ["(nil)" if quoted else ""]
    if isinstance(answer, int):
        return [f"(integer) {answer}" if quoted else str(answer)]
    if isinstance(answer, bytes):
        if quoted and answer not in (b"OK", b"PONG"):
            return [_quoted(answer)]
        return [answer.decode("utf-8", "surrogateescape")]
    return list(_numbered(answer, quoted=quoted)) or (["(empty array)"] if quoted else [])


def _numbered(answers: Iterable[Any], *, quoted: bool) -> Iterable[str]:
    for number, item in enumerate(answers, 1):
        first, *rest = lines(item, quoted=quoted)
        mark = f"{number}) " if quoted else ""
        yield mark + first
        yield from (" " * len(mark) + line for line in rest)


def _quoted(answer: bytes) -> str:
    """Quote `answer` and escape what could control a terminal: anybody may have written it."""
    escaped = answer.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    text = escaped.decode("utf-8", "backslashreplace")
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + '"'


def _plain(answer: Any) -> Any:
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "backslashreplace")
    if isinstance(answer, list):
        return [_plain(item) for item in answer]
    return answer
