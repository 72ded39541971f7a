"""What operators do to keys is in the audit, in their name, before it is done."""

import json
from dataclasses import replace
from pathlib import Path

from gateway.domain.settings import StoreSettings
from tests.cli.commands import Commands


def acts(keys: Commands) -> list[tuple[str, str, str]]:
    ended = keys.gateway("audit", "tail", "--json", "-n", "500")
    assert ended.code == 0, ended.said
    found = [json.loads(line) for line in ended.out.splitlines()]
    return [
        (one["event"], one["key_id"], one["actor"].partition(":")[0])
        for one in found
        if one["event"].startswith("key.")
    ]


def test_every_act_on_a_key_has_its_record(keys: Commands, tmp_path: Path) -> None:
    key = keys.create("--scope", "agents/*")
    for verb in ("disable", "enable", "rotate", "revoke"):
        ended = keys.gateway("keys", verb, key.id)
        assert ended.code == 0, ended.said
    assert keys.gateway("keys", "update", key.id, "--label", "x").code == 0
    file = str(tmp_path / "k.jsonl")
    assert keys.gateway("keys", "export", "--out", file).code == 0
    assert keys.gateway("keys", "import", file).code == 0
    assert keys.gateway("keys", "delete", key.id, "--yes").code == 0
    verbs = ("create", "disable", "enable", "rotate", "revoke", "update", "export", "import")
    assert acts(keys) == [(f"key.{verb}", key.id, "operator") for verb in (*verbs, "delete")]
    assert keys.gateway("audit", "verify").code == 0


def test_without_its_record_nothing_is_done_but_a_revocation(keys: Commands) -> None:
    key = keys.create("--scope", "agents/*")
    assert keys.gateway("redis", "--", "DEL", "gw:audit").code == 0
    assert keys.gateway("redis", "--", "SET", "gw:audit", "no stream").code == 0
    for words in (("disable", key.id), ("update", key.id, "--label", "x"), ("rotate", key.id)):
        ended = keys.gateway("keys", *words)
        assert ended.code == 1
        assert "audit record could not be written" in ended.said + ended.out
    ended = keys.gateway("keys", "revoke", key.id)
    assert ended.code == 0
    assert "has no audit record" in ended.said
    shown = keys.gateway("keys", "show", key.id, "--json").json
    assert shown["status"] == "revoked"
    assert shown["label"] != "x"


def test_a_decoy_key_looks_like_any_other_and_stays_one(keys: Commands) -> None:
    decoy = keys.create("--scope", "agents/*", "--canary")
    assert keys.gateway("keys", "show", decoy.id, "--json").json["state"] == "canary"
    ended = keys.gateway("keys", "enable", decoy.id)
    assert ended.code == 1
    assert "decoy" in ended.said + ended.out


def test_in_the_embedded_store_the_very_first_act_is_signed(
    store: StoreSettings, tmp_path: Path
) -> None:
    keys = Commands(replace(store, url=None), tmp_path)
    made = keys("create", "--consumer", "sales", "--scope", "agents/*")
    assert "master-key, for development" in made.said
    assert f"the private store in {tmp_path / '.gateway'} holds only its hash" in made.said
    verified = keys.gateway("audit", "verify", "--json")
    assert verified.code == 0 and verified.json["unsigned"] == 0
    assert (tmp_path / ".gateway" / "master-key").stat().st_mode & 0o777 == 0o600
