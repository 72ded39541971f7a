"""Several servers of one test: on free loopback ports, alone in a folder, gone at its end."""

import asyncio
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.server import server_binary

# Sentinels that noticed a stall of their own do nothing for 30 s (TILT).
PATIENCE = 60.0
ANSWER_SECONDS = 10.0
PASSWORD = "only-for-tests"


class Node:
    """One server. `client` is for the test alone."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.folder = folder
        self.process = process
        self.port = port
        self.frozen = False
        self.client: Redis = Redis(
            port=port, password=PASSWORD, decode_responses=True, socket_timeout=ANSWER_SECONDS
        )

    def freeze(self) -> None:
        self.frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def close(self) -> None:
        await self.client.aclose()
        self.kill()


async def start_node(
    folder: Path, options: Mapping[str, str] = {}, config: str = "", extra: tuple[str, ...] = ()
) -> Node:
    """A server that answers. `config`: lines of a file of its own; `{bus}` in an option stands
    for one more free port."""
    folder.mkdir()
    for _ in range(5):
        port, bus = free_ports(2)
        (folder / "node.conf").write_text(f"port {port}\nbind 127.0.0.1\n{config}")
        words = [w.format(bus=bus) for pair in options.items() for w in pair]
        node = Node(folder, _spawn(folder, *words, *extra), port)
        if await _answers(node):
            return node
        # Somebody else took the port between its choice and its use.
        await node.close()
    raise AssertionError((folder / "log").read_text())


def _spawn(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    command = [server_binary(), str(folder / "node.conf"), "--dir", str(folder), *words]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log)


async def _answers(node: Node) -> bool:
    async with asyncio.timeout(PATIENCE):
        while node.process.poll() is None:
            try:
                if await node.client.ping():
                    return True
            except RedisError:
                await asyncio.sleep(0.02)
    return False


def free_ports(count: int) -> list[int]:
    """Below those that systems hand out by themselves: one of these may be some connection's own a
    moment later."""
    ports = set[int]()
    while len(ports) < count:
        port = 10_000 + secrets.randbelow(20_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return [*ports]


DATA = {
    "--save": "",
    "--appendonly": "no",
    "--requirepass": PASSWORD,
    "--masterauth": PASSWORD,
    "--repl-diskless-sync-delay": "0",
}
