"""`make memory`: the gateway's memory while large bodies pass through, sampled from /proc.

BENCH_MEGABYTES=1024
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine
from bench.peers import make_key, start_gateway
from bench.site import Running, Site
from gateway.store.embedded.server import embedded

MEGABYTE = 2**20
PIECE = b"x" * 65536
SAMPLE_SECONDS = 0.02
UNREAD = 50
# The most that one request may add: a read buffer on each side, and what waits to be sent.
BOUND = 2 * MEGABYTE

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Scene:
    """The gateway under test, and the size of a body in bytes."""

    gateway: Running
    key: str
    size: int

    async def ask(self, line: str, *headers: str) -> tuple[Reader, Writer]:
        """Open a connection and begin a request on it."""
        host, port = self.gateway.base.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=len(PIECE))
        lines = (line, "Host: x", f"Authorization: Bearer {self.key}", *headers, "", "")
        writer.write("\r\n".join(lines).encode())
        return reader, writer


async def agent(reader: Reader, writer: Writer) -> None:
    """GET /N answers N bytes. POST reads a chunked body and answers its length."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b" ", 2)
            if method == b"GET":
                size = int(path.rpartition(b"/")[2])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                await send(writer, size, chunked=False)
            else:
                said = b"%d" % await drop_chunks(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
    writer.close()


async def send(writer: Writer, size: int, *, chunked: bool) -> None:
    for _ in range(size // len(PIECE)):
        writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def drop_chunks(reader: Reader) -> int:
    """Read a chunked body to its end and return its length."""
    total = 0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        left = size + 2
        while left:
            left -= len(await reader.read(left))
        total += size
    await reader.readexactly(2)
    return total


async def down(scene: Scene) -> None:
    reader, writer = await scene.ask(f"GET /agents/bench/{scene.size} HTTP/1.1")
    await reader.readuntil(b"\r\n\r\n")
    left = scene.size
    while left:
        left -= len(await reader.read(len(PIECE)))
    writer.close()


async def up(scene: Scene) -> None:
    chunked = "Transfer-Encoding: chunked"
    reader, writer = await scene.ask("POST /agents/bench/up HTTP/1.1", chunked)
    await send(writer, scene.size, chunked=True)
    await reader.readuntil(b"\r\n\r\n")
    if int(await reader.read(100)) != scene.size:
        sys.exit("The agent did not get the whole body.")
    writer.close()


async def unread(scene: Scene) -> None:
    """Request many large answers and do not read them for a while."""
    line = f"GET /agents/bench/{scene.size} HTTP/1.1"
    opened = [await scene.ask(line) for _ in range(UNREAD)]
    for _, writer in opened:
        # So that even the client's own buffer does not take them.
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(5)
    for _, writer in opened:
        writer.transport.abort()


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def peak(pid: int, running: Awaitable[None]) -> int:
    """Return the most memory that the process had while `running` ran."""
    most = 0
    task = asyncio.ensure_future(running)
    while not task.done():
        most = max(most, resident(pid))
        await asyncio.wait([task], timeout=SAMPLE_SECONDS)
    await task
    return most


# Each with its number of simultaneous requests.
CASES: dict[str, tuple[Callable[[Scene], Awaitable[None]], int]] = {
    "one answer": (down, 1),
    "one chunked body": (up, 1),
    f"{UNREAD} answers that nobody reads": (unread, UNREAD),
}


async def measure(scene: Scene) -> bool:
    """Print a line for each case; return whether memory stayed within the bound in all."""
    pid, flat = scene.gateway.pid, True
    await down(Scene(scene.gateway, scene.key, len(PIECE)))
    print(f"{'RSS in MB':36} before  most  after")
    for name, (case, requests) in CASES.items():
        before = resident(pid)
        most = await peak(pid, case(scene))
        after = resident(pid)
        print(f"{name:36} {before >> 20:6} {most >> 20:5} {after >> 20:6}")
        flat = flat and most - before <= BOUND * requests
    return flat


async def main() -> None:
    size = int(os.environ.get("BENCH_MEGABYTES") or 1024) * MEGABYTE
    server = await asyncio.start_server(agent, "127.0.0.1", 0, limit=len(PIECE))
    with TemporaryDirectory(prefix="memory-") as name, ExitStack() as stack:
        folder = Path(name)
        async with embedded(folder / "state"):
            site = Site(folder, folder / "state", machine.cores(), stack)
            site.backend = server.sockets[0].getsockname()[1]
            key = await asyncio.to_thread(make_key, site)
            gateway = await asyncio.to_thread(start_gateway, site)
            print(f"{size >> 20} MB a body")
            flat = await measure(Scene(gateway, key, size))
    server.close()
    if not flat:
        sys.exit(f"Memory grew by more than {BOUND >> 20} MB a request.")


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("This needs Linux: it reads memory from /proc.")
    asyncio.run(main())
