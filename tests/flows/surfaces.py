"""All the places where a secret could show, kept to be searched."""

import asyncio
import base64
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

from tests.cli.commands import PEPPER
from tests.cli.serving import REPOSITORY
from tests.flows.own_store import OwnStore

PATIENCE = 15.0


@asynccontextmanager
async def monitored(store: OwnStore, told: bytearray) -> AsyncIterator[None]:
    """Everything that the store is told goes into `told`."""
    reader, writer = await asyncio.open_unix_connection(store.settings.url.removeprefix("unix://"))

    async def listen() -> None:
        while data := await reader.read(2**20):
            told.extend(data)

    writer.write(b"MONITOR\r\n")
    await reader.readuntil(b"\r\n")
    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        await asyncio.sleep(0.1)
        listening.cancel()
        writer.close()


@asynccontextmanager
async def served(folder: Path, store: OwnStore, **more: str) -> AsyncIterator[tuple[str, int, int]]:
    """`gateway serve` with every log there is, in files in `folder`; host and both ports."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    settings = {
        "GATEWAY_REDIS_URL": store.settings.url or "",
        "GATEWAY_PEPPER": PEPPER,
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        # What is asked for all at once on a busy machine is answered late.
        "GATEWAY_REDIS_TIMEOUT": "10s",
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_LOG_FORMAT": "json",
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONDEVMODE": "1",
        "PYTHONPATH": str(REPOSITORY),
        **more,
    }
    err = folder / "stderr.log"
    with (folder / "stdout.log").open("wb") as out, err.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve"),
            cwd=folder,
            env={**kept, **settings},
            stdout=out,
            stderr=errors,
        )
    try:
        async with asyncio.timeout(PATIENCE):
            while not (told := re.search(rb'\{[^\n]*"listening"[^\n]*\}', err.read_bytes())):
                await asyncio.sleep(0.02)
        event = json.loads(told.group())
        host, _, port = event["data"].rpartition(":")
        yield host, int(port), int(event["admin"].rpartition(":")[2])
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()


async def answer(host: str, port: int, data: bytes, patience: float = 0.5) -> bytes:
    """All that comes back until the gateway closes, or has nothing more to say."""
    reader, writer = await asyncio.open_connection(host, port)
    got = b""
    with closing(writer), suppress(ConnectionError, TimeoutError):
        writer.write(data)
        async with asyncio.timeout(patience):
            while piece := await reader.read(65536):
                got += piece
    return got


async def kept_by(store: OwnStore) -> list[bytes]:
    """Every name and value, as the server would write them to a file."""
    found = []
    async for name in store.client.scan_iter(count=1000):
        found += [name.encode(), await dumped(store, name)]
    files = (path for path in Path(store.folder).rglob("*") if path.is_file())
    return found + [path.read_bytes() for path in files]


async def dumped(store: OwnStore, name: str) -> bytes:
    fields = await store.client.hgetall(name) if await store.client.type(name) == "hash" else {}
    return repr(fields).encode()


def mark() -> str:
    """With characters that every encoding spells differently."""
    return f"mark/{secrets.token_hex(12)}+=&?%~{secrets.token_hex(4)}"


def spellings(secret: str) -> Iterator[bytes]:
    """The secret and parts of it, as logs, URLs, JSON and dumps might spell them."""
    raw = secret.encode()
    yield from (raw, raw[5:29], json.dumps(secret)[1:-1].encode())
    yield from (
        quote(secret, safe="").encode(),
        quote(secret).encode(),
        quote_plus(secret).encode(),
    )
    yield from (raw.hex().encode(), raw.hex().upper().encode(), raw[::-1])
    for offset in range(3):
        # Whatever stands before it, one of these is how base64 spells its middle.
        yield base64.b64encode(raw[offset:])[:32]
        yield base64.urlsafe_b64encode(raw[offset:])[:32]


@asynccontextmanager
async def watched_processes(seen: bytearray) -> AsyncIterator[None]:
    """The arguments of every process of the machine, again and again."""

    async def look() -> None:
        while True:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.extend(path.read_bytes())
                except OSError:
                    continue
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()


async def left_behind(folder: Path, store: OwnStore) -> dict[str, bytes]:
    """What is there once `served` has ended, by the name of the place."""
    return {
        "what Redis keeps": b"".join(await kept_by(store)),
        "stdout": (folder / "stdout.log").read_bytes(),
        "stderr": (folder / "stderr.log").read_bytes(),
    }


def shown_nowhere(secrets: Iterable[str], places: Mapping[str, bytes]) -> None:
    """AssertionError where one of `secrets` shows in any spelling, or a place was not looked at."""
    for place, text in places.items():
        assert len(text) > 200, f"{place} was looked at"
        for secret in secrets:
            found = [one for one in spellings(secret) if one in text]
            assert not found, f"{place}: {text[max(0, text.find(found[0]) - 200) :][:500]!r}"
