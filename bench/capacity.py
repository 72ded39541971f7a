"""`make capacity`: what one Redis node can carry: admissions a second, bytes a key.

CAPACITY_KEYS=1000000 CAPACITY_SECONDS=3
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import hiredis
from redis import Redis

from bench import machine
from gateway.domain.keys.judgement import binding_limits
from gateway.domain.keys.key import ALPHABET
from gateway.domain.keys.record import KeyRecord
from gateway.domain.settings import StoreSettings
from gateway.store.admission import PREPARE, Admission, with_lease
from gateway.store.connections.connect import open_lines
from gateway.store.connections.multiplex import pack
from gateway.store.embedded.engine import Engine, find_engine

# As many calls as a busy worker writes in one turn of its loop; a connection for each worker.
TOGETHER, CONNECTIONS = 12, 8
SAMPLE = 20_000
CHUNK = 5_000
FIELDS = ("label", "plan", "users", "expires_at")


@dataclass(frozen=True, slots=True)
class Case:
    """`limits`: of every key. `cached`: whether the worker knows the record already."""

    name: str
    limits: str
    cached: bool = True


MANY = "rate=1000000/s burst=1000000 quota=9999999/d,99999999/month"
CASES = (
    Case("no limits", ""),
    Case("rate", "rate=1000000/s burst=1000000"),
    Case("rate, 2 quotas", MANY),
    Case("the same and concurrency", f"{MANY} concurrency=9999"),
    Case("refused by its rate", "rate=1/d burst=1"),
    Case("read only (a cold key)", "", cached=False),
)


class Server:
    """A Redis on its own core, with the persistence of deploy/redis/redis.conf."""

    def __init__(self, engine: Engine, folder: Path, cores: machine.Cores) -> None:
        self.socket = folder / "s"
        words = ("--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder))
        keep = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
        more = ("--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0")
        machine.pin(cores.measured)
        self.process = subprocess.Popen(
            [engine.path, *words, *keep, *more], stdout=subprocess.DEVNULL
        )
        machine.pin(cores.others)
        self.client = Redis(unix_socket_path=str(self.socket), decode_responses=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(Exception):
                self.client.ping()
                return
            time.sleep(0.02)
        sys.exit("The store did not start.")

    def info(self, name: str) -> float:
        return float(self.client.info()[name])

    def cpu(self) -> float:
        return self.info("used_cpu_user") + self.info("used_cpu_sys")

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()


def key_id(number: int) -> str:
    digits = ""
    for _ in range(12):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def record(number: int, limits: str) -> KeyRecord:
    """Return a record as long as those of `gateway keys create`; its hash is made up."""
    digest = sha256(str(number).encode()).hexdigest()
    phc = f"$argon2id$v=19$m=19456,t=2,p=1${digest[:22]}${digest[:43]}"
    tag = f"{digest[:8]}:{digest[:16]}:{digest}"
    return KeyRecord(
        id=key_id(number),
        hash=phc,
        tag=tag,
        status="active",
        consumer=f"customer-{number % 10_000}",
        scopes="agents/support:chat models/gpt-4",
        limits=limits,
        created_at="1790000000",
        created_by="operator",
        env="live",
        last4=digest[:4],
    )


def fields(one: KeyRecord) -> Iterator[str]:
    names = ("hash", "tag", "status", "consumer", "scopes", "limits", "created_at", "created_by")
    for name in (*names, "env", "last4", *FIELDS):
        yield name
        yield getattr(one, name)


def send(server: Server, commands: Iterator[bytes]) -> None:
    """Send all commands in chunks and wait for every answer."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(server.socket))
        batch: list[bytes] = []
        for command in commands:
            batch.append(command)
            if len(batch) == CHUNK:
                _exchange(wire, batch)
                batch = []
        if batch:
            _exchange(wire, batch)


def _exchange(wire: socket.socket, batch: Sequence[bytes]) -> None:
    reader, left = hiredis.Reader(), len(batch)
    wire.sendall(b"".join(batch))
    while left:
        reader.feed(wire.recv(1 << 20))
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise SystemExit(f"The store refused: {reply}")
            left -= 1


def fill(server: Server, first: int, count: int, limits: str) -> None:
    made = (record(number, limits) for number in range(first, first + count))
    send(server, (pack("HSET", f"gw:key:{{{one.id}}}", *fields(one)) for one in made))


@asynccontextmanager
async def admission(server: Server) -> AsyncIterator[Admission]:
    store = StoreSettings(url=f"unix://{server.socket}", state_dir=server.socket.parent)
    made = Admission(open_lines(store, PREPARE), store.prefix)
    try:
        await made.ping()
        yield made
    finally:
        await made.close()


def packer(made: Admission, case: Case, touch: str = "") -> Callable[[int], bytes]:
    """Return a function that packs the command that the gateway sends for a key of this case.
    `touch`: also record the last use, as the gateway does once a minute."""

    def command(number: int) -> bytes:
        one = record(number, case.limits)
        if not case.cached:
            return made.pack_read(one.id)
        limits = binding_limits(one, {}, None)
        packed = made.pack_charge(one, limits, valid_until=0, touch=touch)
        leases = made.lease_names(one.id, limits)
        return with_lease(packed, os.urandom(8).hex()) if leases else packed

    return command


@dataclass(frozen=True, slots=True)
class Rate:
    """Admissions a second; for each, microseconds of the node's CPU and bytes written to disk."""

    a_second: float
    cpu_us: float
    written: float


async def load(server: Server, commands: Sequence[bytes], seconds: float) -> Rate:
    """Send commands over many connections, several at a time on each, as workers do."""
    ends, done = time.monotonic() + seconds, 0

    async def one(number: int) -> None:
        nonlocal done
        reader, writer = await asyncio.open_unix_connection(server.socket)
        parser, at = hiredis.Reader(), number * len(commands) // CONNECTIONS
        while time.monotonic() < ends:
            at = (at + TOGETHER) % (len(commands) - TOGETHER)
            writer.write(b"".join(commands[at : at + TOGETHER]))
            left = TOGETHER
            while left:
                parser.feed(await reader.read(1 << 16))
                while (reply := parser.gets()) is not False:
                    if isinstance(reply, hiredis.ReplyError):
                        raise SystemExit(f"The store refused: {reply}")
                    left -= 1
            done += TOGETHER
        writer.close()

    cpu, began = server.cpu(), time.monotonic()
    size = server.info("aof_current_size")
    await asyncio.gather(*map(one, range(CONNECTIONS)))
    took = time.monotonic() - began
    spent, grown = server.cpu() - cpu, server.info("aof_current_size") - size
    return Rate(done / took, spent / done * 1e6, grown / done)


async def rates(server: Server, seconds: float) -> None:
    print(f"{'admission':28} {'CPU us':>7} {'a core':>9} {'measured':>9} {'AOF bytes':>10}")
    async with admission(server) as made:
        for position, case in enumerate(CASES):
            first = 10**9 + position * SAMPLE
            fill(server, first, SAMPLE, case.limits)
            commands = [*map(packer(made, case), range(first, first + SAMPLE))]
            send(server, iter(commands))
            rate = await load(server, commands, seconds)
            print(
                f"{case.name:28} {rate.cpu_us:7.1f} {1e6 / rate.cpu_us:9,.0f} "
                f"{rate.a_second:9,.0f} {rate.written:10.0f}",
                flush=True,
            )


async def memory(server: Server, count: int) -> None:
    """Measure the memory of records, then of keys with all counters of their limits in use."""
    before, began = server.info("used_memory"), time.monotonic()
    fill(server, 0, count, "")
    took, records = time.monotonic() - began, server.info("used_memory")
    print(
        f"{count:,} records: {(records - before) / count:,.0f} bytes each, loaded in {took:.0f} s"
    )
    case = CASES[3]
    sample = min(count, 100_000)
    async with admission(server) as made:
        fill(server, 2 * 10**9, sample, case.limits)
        records, number = server.info("used_memory"), 2 * 10**9
        send(server, map(packer(made, case, "current"), range(number, number + sample)))
        charged = (server.info("used_memory") - records) / sample
    print(f"with a rate, two quotas, a lease and last use: {charged:,.0f} bytes more a key")
    await asyncio.to_thread(rewrite, server)


def rewrite(server: Server) -> None:
    """Measure the size of the append-only file after a rewrite."""
    began = time.monotonic()
    server.client.execute_command("BGREWRITEAOF")
    while server.info("aof_rewrite_scheduled") or server.info("aof_rewrite_in_progress"):
        time.sleep(0.2)
    took, size = time.monotonic() - began, server.info("aof_current_size")
    names = server.client.dbsize()
    print(f"append-only file rewritten in {took:.0f} s: {size / names:.0f} bytes a name")


async def main() -> None:
    count = int(os.environ.get("CAPACITY_KEYS") or 1_000_000)
    seconds = float(os.environ.get("CAPACITY_SECONDS") or 3)
    cores, engine = machine.cores(), find_engine()
    machine.pin(cores.others)
    with TemporaryDirectory(prefix="capacity-") as folder:
        server = Server(engine, Path(folder), cores)
        try:
            print("\n".join(machine.describe(str(engine))))
            print(f"{CONNECTIONS} connections, {TOGETHER} calls at a time, {seconds:g} s a case\n")
            await rates(server, seconds)
            print()
            await memory(server, count)
        finally:
            server.stop()


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("This needs Linux: it gives the store a core of its own.")
    asyncio.run(main())
