"""`gateway audit`: what was done with credentials, and proof that nobody has changed it since."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.vault_commands import OTHER_MASTER, VaultCommands


@pytest.fixture
def vault(store: StoreSettings, tmp_path: Path) -> VaultCommands:
    return VaultCommands(store, tmp_path)


@pytest.fixture
def redis(store: StoreSettings) -> Any:
    client = Redis.from_url(store.url or "", decode_responses=True)
    yield client
    client.close()


def records(redis: Any) -> list[Any]:
    return [json.loads(fields["record"]) for _, fields in redis.xrange("gw:audit")]


def test_every_act_of_an_operator_is_recorded_by_name_and_version_and_proven(
    vault: VaultCommands, redis: Any
) -> None:
    vault.set("aa", "marked-secret")
    assert vault("rotate", "aa", value="marked-secret-2").code == 0
    assert vault("delete", "aa", "--yes").code == 0
    acts = [record for record in records(redis) if record["event"] != "audit.end"]
    assert [record["event"] for record in acts] == [
        "credential.set",
        "credential.rotate",
        "credential.delete",
    ]
    assert [record["credentials"][0] for record in acts] == [
        {"name": "aa", "version": version} for version in (1, 2, 2)
    ]
    assert all(record["actor"].startswith("operator:") for record in acts)
    good = vault.gateway("audit", "verify", "--json")
    assert good.code == 0
    assert good.json["ok"] and good.json["records"] == 6
    assert (good.json["chains"], good.json["open"]) == (3, 0)
    table = vault.gateway("audit", "tail", "-n", "5").out
    assert "credential.rotate" in table and "aa@2" in table
    assert "marked-secret" not in table + json.dumps(records(redis))


def test_verify_names_the_first_bad_record(vault: VaultCommands, redis: Any) -> None:
    for name in ("aa", "bb", "cc"):
        vault.set(name, "v")
    entries = redis.xrange("gw:audit")
    redis.xdel("gw:audit", entries[2][0])
    ended = vault.gateway("audit", "verify", "--json")
    assert ended.code == 1 and ended.json["bad"] == entries[3][0]
    assert "missing" in ended.json["reason"]
    said = vault.gateway("audit", "verify").said
    assert entries[3][0] in said and "Traceback" not in said


def test_a_record_that_was_rewritten_is_found_with_the_right_key_alone(
    vault: VaultCommands, redis: Any
) -> None:
    vault.set("aa", "v")
    (first, fields), *rest = redis.xrange("gw:audit")
    record = json.loads(fields["record"])
    redis.delete("gw:audit")
    redis.xadd("gw:audit", {"record": json.dumps({**record, "consumer": "nobody"})}, id=first)
    for entry, kept in rest:
        redis.xadd("gw:audit", kept, id=entry)
    ended = vault.gateway("audit", "verify", "--json")
    assert ended.code == 1 and ended.json["bad"] == first
    other = vault.gateway("audit", "verify", "--json", GATEWAY_MASTER_KEY=OTHER_MASTER)
    assert other.code == 1 and "not given" in other.json["reason"]


def test_an_export_begins_where_it_is_asked_to(vault: VaultCommands) -> None:
    vault.set("aa", "v")
    whole = vault.gateway("audit", "export").out
    assert whole
    for since in ("2h", "2026-01-31", "1700000000"):
        assert vault.gateway("audit", "export", "--since", since).out == whole
    time.sleep(1.1)  # The stream counts by the clock, and a second is the least that can be asked.
    assert vault.gateway("audit", "export", "--since", str(int(time.time()))).out == ""
    for since in ("soon", "2099-01-01"):
        ended = vault.gateway("audit", "export", "--since", since)
        assert ended.code == 2
        assert ended.is_one_sentence()


def test_records_go_into_a_file_as_well_and_what_is_exported_verifies(
    vault: VaultCommands, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    for name in ("aa", "bb"):
        ended = vault("set", name, "--type", "api_key", value="v", GATEWAY_AUDIT_FILE=str(file))
        assert ended.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert vault.gateway("audit", "verify", "--file", str(file)).code == 0
    exported = vault.gateway("audit", "export").out
    assert exported == file.read_text()
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[2], lines[1], lines[3]]) + "\n")
    ended = vault.gateway("audit", "verify", "--file", str(file), "--json")
    assert ended.code == 0, "two writers' records may stand in any order"
    file.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    ended = vault.gateway("audit", "verify", "--file", str(file), "--json")
    assert ended.code == 1 and ended.json["bad"] == "line 2"


@pytest.mark.parametrize("place", ["/dev/full", "/no/such/folder/audit", "pipe"])
def test_what_cannot_be_recorded_is_not_done(
    place: str, vault: VaultCommands, redis: Any, tmp_path: Path
) -> None:
    if place == "pipe":
        place = str(tmp_path / "pipe")
        os.mkfifo(place)
    ended = vault("set", "aa", "--type", "api_key", value="v", GATEWAY_AUDIT_FILE=place)
    assert ended.code == 1 and "could not be written" in ended.said
    assert not redis.exists("gw:cred:{vault}:item:aa")
