"""What operators see of credentials: how many are well, how old all is, what is about to end."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.settings import StoreSettings
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.watch import CredentialWatch
from gateway.services.telemetry.traffic import Traffic
from tests.cli.commands import VaultCommands
from tests.services.vaults import Vault

NOW = 1_800_000_000
DAY = 86_400


@pytest.fixture
async def vault(client: Redis) -> Vault:
    made = Vault(client)
    await made.write("well", expires_at=NOW + 15 * DAY)
    await made.write("near", expires_at=NOW + 13 * DAY)
    await made.write("past", expires_at=NOW - 1)
    await made.write("forever")
    await made.write("broken")
    await client.set("gw:cred:{vault}:item:broken", "scribble")
    return made


async def test_states_and_age_are_in_the_metrics_and_an_end_is_said_in_time(vault: Vault) -> None:
    sync = vault.sync()
    await sync.check()
    vault.now += 42
    traffic = Traffic()
    watch = CredentialWatch(LiveCredentials(sync, lambda: NOW), traffic, lambda: vault.now)
    with capture_logs() as logged:
        watch.check()
        watch.check()
        vault.now += 3601
        watch.check()
    shown = traffic.exposition().decode()
    for state, count in (("ok", 2), ("expiring", 1), ("expired", 1), ("broken", 1)):
        assert f'gateway_credentials{{state="{state}"}} {count}.0\n' in shown
    assert "gateway_credentials_age_seconds 3643.0\n" in shown
    said = [(line["event"], line["name"]) for line in logged]
    assert said.count(("credential_expiring", "near")) == 1
    assert said.count(("credential_expired", "past")) == 2
    assert len(said) == 3


async def test_doctor_names_what_is_broken_or_has_ended(
    client: Redis, store: StoreSettings, tmp_path: Path
) -> None:
    vault = Vault(client)
    commands = VaultCommands(store, tmp_path)
    seconds, _ = await client.time()
    await vault.write("near", expires_at=seconds + DAY)
    (_, counted), (wrong, near) = vault_findings(commands)
    assert counted == "1 credential in the vault." and not wrong
    assert near.startswith("1 credential will expire within 14 days (near): ")
    await vault.write("past", expires_at=seconds - 1)
    await client.set("gw:cred:{vault}:item:broken", "scribble")
    await client.zadd("gw:cred:{vault}:changes", {"broken": 1})
    bad = [sentence for wrong, sentence in vault_findings(commands) if wrong]
    assert len(bad) == 2 and "(broken)" in bad[0] and "(past)" in bad[1]


def vault_findings(commands: VaultCommands) -> list[tuple[bool, str]]:
    found = json.loads(commands.gateway("doctor", "--json").out)["findings"]
    return [(one["wrong"], one["sentence"]) for one in found if one["topic"] == "vault"]
