"""What workers write to the audit is proven also where they were killed while they wrote."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.commands import VaultCommands
from tests.cli.crews import Crew, issue, vault_crew
from tests.services.vaults import Vault

PATH = "/v1/credentials?names=crm"
CALLERS, KILLS, BETWEEN = 8, 3, 200


@pytest.fixture
async def workers(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> AsyncIterator[tuple[Crew, str]]:
    await Vault(client).write("crm")
    settings = {
        "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl"),
        "GATEWAY_AUDIT_FILE_SIZE": "64KiB",
        "GATEWAY_AUDIT_FILE_KEEP": "0",
    }
    key = await issue(client)
    await client.hset(f"gw:key:{{{key.id}}}", "scopes", "gateway/credentials:crm")
    async with vault_crew(store, workers=2, folder=tmp_path, **settings) as made:
        yield made, key.text


async def test_after_workers_were_killed_under_load_every_record_is_as_it_was_written(
    workers: tuple[Crew, str], store: StoreSettings, tmp_path: Path
) -> None:
    made, key = workers
    given_out: Counter[str] = Counter()
    enough = asyncio.Event()

    async def load() -> None:
        while not enough.is_set():
            connection = await made.served.connect()
            try:
                while not enough.is_set():
                    answer = await connection.get(PATH, key)
                    assert answer.status == 200
                    given_out[answer.headers["X-Request-Id"]] += 1
            except (OSError, EOFError):
                # The worker died with this connection.
                connection.writer.close()

    loads = [asyncio.create_task(load()) for _ in range(CALLERS)]
    for number in range(KILLS):
        until = len(given_out) + BETWEEN
        while len(given_out) < until:
            await asyncio.sleep(0.01)
        # The oldest: whoever came last may have no caller yet.
        os.kill(made.pids[number], signal.SIGKILL)
        await made.next_pid()
    enough.set()
    await asyncio.gather(*loads)

    commands = VaultCommands(store, tmp_path)
    file = tmp_path / "audit.jsonl"
    for place in ((), ("--file", str(file))):
        ended = await asyncio.to_thread(commands.gateway, "audit", "verify", "--json", *place)
        assert ended.code == 0, ended.out
        assert ended.json["open"] > 1, "nobody was killed who had written"
    # Nothing was given out that is not on record in both.
    exported = (await asyncio.to_thread(commands.gateway, "audit", "export")).out
    lines = [line for one in tmp_path.glob("audit.jsonl*") for line in one.read_text().splitlines()]
    # Of whoever was killed a record may be torn, and the next one begins on a line of its own.
    for records in (exported.splitlines(), [line for line in lines if line.endswith("}")]):
        assert given_out.keys() <= {json.loads(line)["request_id"] for line in records}
