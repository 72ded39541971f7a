"""Programs that read deploy/ as its users do."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


def run(*words: str | Path, cwd: Path = DEPLOY) -> str:
    ended = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


PATIENCE = 30.0


def replaced(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        assert old in text
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def started(command: list[str], port: int) -> AsyncIterator[None]:
    silent = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=silent, stderr=silent)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await answers(port):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
