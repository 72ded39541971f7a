"""Programs that fork, as many servers of Python do, after they have opened their credentials."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.domain.credentials import CredentialId
from tests.client.agents import PATIENCE, Pulling
from tests.until import until

# The parent waits for its child without leaving; the child never leaves what it has inherited.
FORKS = """
import os, sys, time
from gateway.client import SyncCredentials
url, key = sys.argv[1:]
told = []
tell = lambda name: told.append(credentials[name].reveal())
credentials = SyncCredentials(url, key, ["crm"], poll=1.0, on_change=tell)
credentials.__enter__()
held = credentials["crm"]
child = os.fork()
if child:
    ended = os.waitpid(child, 0)[1]
    credentials.__exit__(None, None, None)
    sys.exit(os.waitstatus_to_exitcode(ended))
print("forked", flush=True)
for line in sys.stdin:
    while not held.reveal() == told[-1] == line.strip():
        time.sleep(0.05)
    print(credentials["crm"].reveal(), flush=True)
"""
# The child forks while a thread of it waits for the gateway.
FORKS_AGAIN = """
import os, sys, threading, time
from gateway.client import SyncCredentials
url, key = sys.argv[1:]
with SyncCredentials(url, key, ["crm"]) as credentials:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        sys.exit()
    print("forked", flush=True)
    sys.stdin.readline()
    threads = threading.active_count()
    threading.Thread(target=lambda: credentials["crm"], daemon=True).start()
    while threading.active_count() < threads + 2:
        time.sleep(0.01)
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        print(credentials["crm"].reveal(), flush=True)
    os._exit(0)
"""

# The child tells how long it took to ask three times.
FORKS_REFUSED = """
import os, sys, time
from gateway.client import SyncCredentials
from gateway.client.source import PullSource
url, key = sys.argv[1:]
asked, fetch = [], PullSource.fetch
def counted(source, since, wait):
    asked.append(time.monotonic())
    return fetch(source, since, wait)
PullSource.fetch = counted
credentials = SyncCredentials(url, key, ["crm"], poll=0)
credentials.__enter__()
if child := os.fork():
    os.waitpid(child, 0)
    sys.exit()
print("forked", flush=True)
sys.stdin.readline()
asked.clear()
credentials["crm"]
while len(asked) < 3:
    time.sleep(0.01)
print(asked[2] - asked[0], flush=True)
os._exit(0)
"""


@asynccontextmanager
async def forking(pulling: Pulling, text: str = FORKS) -> AsyncIterator[asyncio.subprocess.Process]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", text, pulling.url, pulling.key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            assert program.stdout is not None
            assert await program.stdout.readline() == b"forked\n"
            yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        await program.communicate()


async def _expects(program: asyncio.subprocess.Process, value: str) -> str:
    assert program.stdin is not None and program.stdout is not None
    program.stdin.write(f"{value}\n".encode())
    return (await program.stdout.readline()).decode().strip()


async def test_a_forked_process_hears_of_rotations_too(pulling: Pulling) -> None:
    async with forking(pulling) as program:
        assert await _expects(program, "crm-1") == "crm-1"
        for version in (2, 3):
            await pulling.vault.write("crm", version)
            assert await _expects(program, f"crm-{version}") == f"crm-{version}"
        assert program.stdin is not None
        program.stdin.close()
        assert await program.wait() == 0, "neither of the two waits for the other's thread"


async def test_a_process_that_forks_while_the_gateway_is_away_goes_on_with_what_it_knows(
    pulling: Pulling,
) -> None:
    async with forking(pulling) as program:
        await pulling.world.gateways[0].drain(0.0)
        assert await _expects(program, "crm-1") == "crm-1"


async def test_what_changed_before_the_first_use_is_told_with_its_new_value(
    pulling: Pulling,
) -> None:
    async with forking(pulling) as program:
        await pulling.vault.write("crm", 2)
        known = pulling.world.gateways[0].base.credentials
        await until(lambda: known.find(CredentialId("crm")).current.number == 2)
        assert await _expects(program, "crm-2") == "crm-2"


async def test_a_fork_while_another_thread_waits_for_the_gateway_waits_for_nobody_for_good(
    pulling: Pulling,
) -> None:
    async with forking(pulling, FORKS_AGAIN) as program:
        await pulling.world.gateways[0].drain(0.0)
        assert await _expects(program, "") == "crm-1"


async def test_a_forked_process_whose_key_is_refused_asks_less_and_less_often(
    pulling: Pulling,
) -> None:
    async with forking(pulling, FORKS_REFUSED) as program:
        world = pulling.world
        await world.client.delete(*await world.client.keys("*key:*"))
        assert float(await _expects(program, "")) > 1.4
