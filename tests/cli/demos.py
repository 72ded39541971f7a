"""`gateway demo`, running."""

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli import forks
from tests.cli.serving import PATIENCE, REPOSITORY, Process, environment, execute
from tests.needed import missing


@pytest.fixture
def folder() -> Iterator[Path]:
    """A clone as far as the demo sees it, on a machine without Redis."""
    with TemporaryDirectory() as path:
        made = Path(path) / "a clone"
        made.mkdir()
        shutil.copytree(REPOSITORY / "policies", made / "policies")
        yield made


@dataclass
class Demo:
    """A running demo and the lines that it printed."""

    process: Process
    lines: list[str]
    folder: Path

    def line(self, pattern: str) -> str:
        """The one line that matches."""
        found = [line for line in self.lines if re.search(pattern, line)]
        assert len(found) == 1, self.lines
        return found[0]

    @property
    def key(self) -> str:
        return self.line("^export KEY=").removeprefix("export KEY=")

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.lines[1])
        assert found is not None
        return found.group()

    async def paste(self, line: str) -> str:
        """What a shell in the same directory prints for a line, the key exported before."""
        script = f"export KEY={self.key}\n{line}\n"
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-e", "-c", script),
            cwd=self.folder,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await shell.communicate()
        assert shell.returncode == 0
        return out.decode()

    async def interrupt(self) -> tuple[int, str]:
        """Ctrl-C: the exit code, and what was printed after it."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, (out + err).decode()


@asynccontextmanager
async def demo(
    folder: Path, *arguments: str, python: str = "", **settings: str
) -> AsyncIterator[Demo]:
    """`gateway demo` on a free port, with nothing on PATH. `python`: one that has a gateway of its
    own."""
    words = ("demo", "--listen", "127.0.0.1:0", *arguments)
    given = {**environment(**settings), "PATH": str(folder)}
    if python:
        process = await execute((python, "-m", "gateway", *words), folder, given)
    else:
        process = await forks.start(words, folder, given)
    try:
        yield Demo(process, await _printed(process), folder)
    finally:
        if process.returncode is None:
            # Killed, it would leave a store behind that still writes into the folder.
            process.terminate()
            await process.communicate()


async def _printed(process: Process) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            lines.append(line.decode().rstrip("\n"))
            if lines[-1].startswith("Ctrl-C"):
                return lines
    _, err = await process.communicate()
    raise AssertionError(f"the demo ended: {lines} {err.decode()}")


def tool(name: str) -> None:
    """Skips where a tool is missing, and fails where none may be."""
    if shutil.which(name) is None:
        missing(f"{name} is not installed")
