"""`gateway serve` as it runs in production: a process of its own, spoken to by sockets."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli import forks
from tests.flows.raw import read_answer
from tests.flows.world import Answer

REPOSITORY = Path(__file__).parents[2]
# Ends a test that hangs; four workers start in 40 s where half a core is all there is.
PATIENCE = 60.0


def environment(**settings: str) -> dict[str, str]:
    """This process's, with no setting of the gateway but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **settings}


Process = asyncio.subprocess.Process | forks.Forked


async def start(
    *arguments: str,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    before: str = "",
    anew: bool = False,
) -> Process:
    """`gateway ARGUMENTS` in `folder`. `anew`: by starting Python; else as in tests.cli.forks.
    `before`: commands for the shell that does so, such as ulimit."""
    given = environment(**(settings or {}))
    if not (anew or before):
        _all_in_time(given)
        return await forks.start(arguments, folder, given)
    command = [sys.executable, "-m", "gateway", *arguments]
    if before:
        command = ["sh", "-c", f'{before} && exec "$@"', "sh", *command]
    return await execute(command, folder, given)


async def execute(command: Sequence[str], folder: Path, given: Mapping[str, str]) -> Process:
    """`command`, with nothing on its stdin. `given`: its environment."""
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def _all_in_time(given: Mapping[str, str]) -> None:
    """AssertionError for a variable that Python or a library may read before a fork has it."""
    usual = environment()
    own = [name for name, value in given.items() if usual.get(name) != value]
    assert all(name.startswith(("GATEWAY_", "TMPDIR")) for name in own), f"start it anew: {own}"


@dataclass
class Served:
    """A gateway that serves. `events`: what it has logged so far."""

    process: Process
    events: list[dict[str, Any]] = field(default_factory=list)
    data: tuple[str, int] = ("", 0)
    admin: tuple[str, int] = ("", 0)
    connections: list["Connection"] = field(default_factory=list)
    printed: bytes = b""

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of this name; AssertionError if the process ends without it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stderr:
                self.events.append(json.loads(line))
                if self.events[-1]["event"] == name:
                    return self.events[-1]
        raise AssertionError(f"no {name}: {self.events}")

    async def ends(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stderr:
                self.events.append(json.loads(line))
            if self.process.stdout is not None:
                self.printed += await self.process.stdout.read()
            return await self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def connect(self, *, admin: bool = False) -> "Connection":
        opened = await asyncio.open_connection(*(self.admin if admin else self.data))
        self.connections.append(Connection(*opened))
        return self.connections[-1]

    async def get(self, path: str, key: str = "", *, admin: bool = False) -> Answer:
        """One request on a connection of its own."""
        connection = await self.connect(admin=admin)
        answer = await connection.get(path, key)
        connection.writer.close()
        return answer


@dataclass
class Connection:
    """A kept-alive connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, path: str, key: str = "") -> None:
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n".encode())

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            return await read_answer(self.reader)

    async def get(self, path: str, key: str = "") -> Answer:
        self.send(path, key)
        return await self.answer()

    async def ended(self) -> bool:
        """Whether the gateway has closed it, in order, and sent nothing more."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read() == b""


async def refused(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None, before: str = ""
) -> tuple[int, str]:
    """How `gateway ARGUMENTS` fails: its exit code and its stderr."""
    process = await start(*arguments, folder=folder, settings=settings, before=before)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert out == b""
    assert b"Traceback" not in err
    assert process.returncode is not None
    return process.returncode, err.decode()


@asynccontextmanager
async def serving(
    *arguments: str,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    before: str = "",
    anew: bool = False,
) -> AsyncIterator[Served]:
    """`gateway serve` on free ports, unless `arguments` or `settings` say which; killed at the
    end if it still runs."""
    settings = {
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        # Nobody reads what is printed to stdout.
        "GATEWAY_ACCESS_LOG": "off",
        **(settings or {}),
    }
    how = {"folder": folder, "settings": settings, "before": before, "anew": anew}
    served = Served(await start("serve", *arguments, **how))
    try:
        told = await served.event("listening")
        served.data, served.admin = _address(told["data"]), _address(told["admin"])
        yield served
    finally:
        if served.process.returncode is None:
            served.stop(signal.SIGKILL)
        await served.ends()
        for connection in served.connections:
            connection.writer.close()
            with suppress(ConnectionError):
                await connection.writer.wait_closed()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
