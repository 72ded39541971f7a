"""Commands whose answers are bytes, and the scripts beside this file."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.connections.failures import UnknownScriptError, translated


async def command(client: Redis, *words: str | bytes | int, **options: bool) -> Any:
    """Bytes: what was set by hand may be anything, and must not break the connection."""
    with translated():
        return await client.execute_command(*words, **{NEVER_DECODE: True, **options})


async def run(
    client: Redis, script: str, names: Sequence[str], arguments: Sequence[str | bytes]
) -> Any:
    """`scripts/<script>.lua` on these names, in one round trip where Redis knows it."""
    source, digest = _source(script)
    rest = (str(len(names)), *names, *arguments)
    try:
        return await command(client, "EVALSHA", digest, *rest)
    except UnknownScriptError:
        return await command(client, "EVAL", source, *rest)


@cache
def _source(name: str) -> tuple[str, str]:
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
