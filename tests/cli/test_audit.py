"""`gateway audit`: what was done with credentials, and proof that nobody has changed it since."""

import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from gateway.domain.audit.record import digest
from gateway.domain.settings import StoreSettings
from tests.cli.commands import COMMAND, OTHER_MASTER, VaultCommands


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
    shown = vault.gateway("audit", "tail", "-n", "5").out
    assert "credential.rotate" in shown and "aa@2" in shown
    assert "marked-secret" not in shown + json.dumps(records(redis))


def test_a_tail_for_people_says_what_each_record_says_and_leaves_the_ends_of_chains_out(
    vault: VaultCommands, redis: Any
) -> None:
    vault.set("aa", "v")
    made = records(redis)[0]
    denied = {"event": "request.denied", "consumer": "big sales", "agent": "echo", "count": 17}
    told = {**made, **denied, "credentials": [], "actor": "", "status": 429, "code": "rate_limited"}
    redis.xadd("gw:audit", {"record": json.dumps(told)})
    first, second = vault.gateway("audit", "tail", "-n", "2").out.splitlines()
    assert "credential.set" in first and "actor=operator:" in first and "credentials=aa@1" in first
    whole = (
        'request.denied     consumer="big sales" agent=echo code=rate_limited status=429 count=17'
    )
    assert second.endswith(f" UTC  {whole}")
    events = vault.gateway("audit", "tail", "-n", "2", "--json").out.splitlines()
    assert [json.loads(line)["event"] for line in events] == ["audit.end", "request.denied"]


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


def test_verify_says_where_there_was_nothing_to_verify(vault: VaultCommands) -> None:
    file = vault.folder / "audit.jsonl"
    file.write_text("")
    for place in ((), ("--file", str(file))):
        ended = vault.gateway("audit", "verify", *place)
        assert ended.code == 0 and "There are no records yet" in ended.said
    file.write_text("nonsense\n")
    assert "no records" not in vault.gateway("audit", "verify", "--file", str(file)).said
    vault.set("aa", "v")
    assert "no records" not in vault.gateway("audit", "verify").said


def test_a_record_that_somebody_made_up_does_not_hide_the_others(
    vault: VaultCommands, redis: Any
) -> None:
    vault.set("aa", "v")
    real = records(redis)[0]
    for more in ({"code": 7}, {"ts": 1e999}, {"credentials": 7}):
        redis.xadd("gw:audit", {"record": json.dumps({**real, **more})})
    ended = vault.gateway("audit", "tail")
    assert ended.code == 0 and "Traceback" not in ended.said
    assert "credential.set" in ended.out and ended.out.count("not an audit record") >= 2


def test_the_latest_of_a_file_are_shown_and_none_follow(vault: VaultCommands) -> None:
    file = vault.folder / "audit.jsonl"
    file.write_text("".join(f'{{"number":{number}}}\n' for number in range(5)))
    tail = ("audit", "tail", "--file", str(file))
    shown = vault.gateway(*tail, "-n", "2", "--json").out
    assert [json.loads(line)["number"] for line in shown.splitlines()] == [3, 4]
    assert "no records" not in vault.gateway(*tail, "-n", "0").said
    refused = vault.gateway(*tail, "--follow")
    assert refused.code == 2 and "tail -F" in refused.said and refused.is_one_sentence()
    file.write_text("")
    assert "no records" in vault.gateway(*tail).said


@pytest.mark.parametrize("command", ["verify", "anchor", "tail"])
@pytest.mark.parametrize("path", ["audit.jsonl", "missing/audit.jsonl"])
def test_a_file_that_is_not_there_is_named(command: str, path: str, vault: VaultCommands) -> None:
    file = vault.folder / path
    refused = vault.gateway("audit", command, "--file", str(file))
    assert refused.code == 1 and refused.is_one_sentence()
    assert f"{file} cannot be read" in refused.said


def test_the_latest_are_read_from_the_end_and_followed_over_one_connection(
    vault: VaultCommands, redis: Any
) -> None:
    vault.set("aa", "v")
    record = json.dumps(records(redis)[0])
    for number in range(1200):
        redis.xadd("gw:audit", {"record": json.dumps({"number": number})})
    redis.config_resetstat()
    ended = vault.gateway("audit", "tail", "-n", "2", "--json")
    assert [json.loads(line)["number"] for line in ended.out.splitlines()] == [1198, 1199]
    assert "no records" not in vault.gateway("audit", "tail", "-n", "0").said
    assert "cmdstat_xrange" not in redis.info("commandstats")
    assert redis.info("commandstats")["cmdstat_xrevrange"]["calls"] == 2
    words = [*COMMAND, "audit", "tail", "-n", "1", "--follow", "--json"]
    with subprocess.Popen(
        words, cwd=vault.folder, env=vault.environment(), stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline()) == {"number": 1199}
        before = redis.info("stats")["total_connections_received"]
        for _ in range(2):
            redis.xadd("gw:audit", {"record": record})
            assert following.stdout.readline().strip() == record
        assert redis.info("stats")["total_connections_received"] == before
        following.terminate()


def test_records_are_found_by_what_they_say(vault: VaultCommands, redis: Any) -> None:
    def write(event: str, key: str, **more: Any) -> None:
        record = {"event": event, "key_id": key, **more}
        redis.xadd("gw:audit", {"record": json.dumps(record)})

    def shown(*words: str) -> list[str]:
        lines = vault.gateway("audit", *words).out.splitlines()
        return [f"{one['event']} {one['key_id']}" for one in map(json.loads, lines)]

    used = [{"name": "user/ann/mail", "version": 1}, {"name": "crm", "version": 2}]
    write("credential.use", "a", user="ann", agent="services/crm", credentials=used)
    write("credential.read", "b", credentials=["crm"])
    write("credentials", "a")
    write("audit.end", "")
    redis.xadd("gw:audit", {"record": "no record"})
    write("request.denied", "a", decision="denied")
    both = ["credential.use a", "credential.read b"]
    for verb in (("tail", "--json"), ("export", "--since", "1h")):
        assert shown(*verb, "--event", "credential.*") == both
        assert shown(*verb, "--event", "credential.*", "--key", "b") == both[1:]
        assert shown(*verb, "--user", "ann", "--agent", "services/crm") == both[:1]
        assert shown(*verb, "--credential", "crm") == both[:1]
        assert shown(*verb, "--credential", "crm@2") == both[:1]
        assert shown(*verb, "--credential", "crm@1") == []
        assert shown(*verb, "--credential", "mail") == []
        assert shown(*verb, "--decision", "denied") == ["request.denied a"]
        assert shown(*verb, "--event", "user.*") == []
    # As many as are asked for, however many others come after.
    assert shown("tail", "--json", "-n", "1", "--event", "credential.*") == both[1:]
    file = vault.folder / "audit.jsonl"
    file.write_text(vault.gateway("audit", "export").out)
    assert shown("tail", "--file", str(file), "--json", "--key", "b") == both[1:]
    for words in (("--event", "user.*"), ("--event", "user.*", "--file", str(file))):
        assert "No record matches." in vault.gateway("audit", "tail", *words).said
        assert "No record" not in vault.gateway("audit", "tail", "-n", "0", *words).said
    words = [*COMMAND, "audit", "tail", "-n", "0", "--follow", "--json", "--event", "key.*"]
    with subprocess.Popen(
        words, cwd=vault.folder, env=vault.environment(), stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        deadline = time.monotonic() + 30
        while not select.select([following.stdout], [], [], 0.2)[0]:
            assert time.monotonic() < deadline
            write("credential.use", "c")
            write("key.revoke", "c")
        assert json.loads(following.stdout.readline())["event"] == "key.revoke"
        following.terminate()


@pytest.mark.parametrize("verb", ["tail", "export"])
def test_an_event_that_there_is_not_is_refused_with_the_one_that_was_meant(
    verb: str, vault: VaultCommands
) -> None:
    for mistyped, meant in (("key.revok", "key.revoke"), ("keys.*", "key.*")):
        refused = vault.gateway("audit", verb, "--event", mistyped)
        assert (refused.code, refused.out) == (2, "") and refused.is_one_sentence()
        assert f"did you mean '{meant}'?" in refused.said
    assert "request.denied" in vault.gateway("audit", verb, "--event", "nonsense").said


def test_an_export_may_end_in_the_past(vault: VaultCommands, redis: Any) -> None:
    for second in (1_000, 2_000, 3_000):
        redis.xadd("gw:audit", {"record": json.dumps({"at": second})}, id=f"{second}000-0")

    def exported(*words: str) -> list[int]:
        ended = vault.gateway("audit", "export", *words)
        assert ended.code == 0
        return [json.loads(line)["at"] for line in ended.out.splitlines()]

    assert exported("--until", "3000") == [1_000, 2_000]
    assert exported("--since", "2000", "--until", "2999-12-31") == [2_000, 3_000]
    assert exported("--until", "0") == []
    refused = vault.gateway("audit", "export", "--since", "1h", "--until", "2h")
    assert (refused.code, refused.out) == (2, "") and refused.is_one_sentence()
    assert "--until names a time before --since" in refused.said


def test_whoever_follows_goes_on_when_redis_is_back(vault: VaultCommands, redis: Any) -> None:
    vault.set("aa", "v")
    words = [*COMMAND, "audit", "tail", "-n", "1", "--follow", "--json"]
    (vault.folder / "run").mkdir()
    relay = vault.folder / "run" / "s"
    real = str(vault.store.url).removeprefix("unix://")
    relay.symlink_to(real)
    with subprocess.Popen(
        words,
        cwd=vault.folder,
        env=vault.environment(GATEWAY_REDIS_URL=f"unix://{relay}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None and following.stderr is not None
        following.stdout.readline()
        relay.unlink()
        redis.client_kill_filter(_type="normal", skipme=True)
        assert "Redis could not answer" in following.stderr.readline()
        redis.xadd("gw:audit", {"record": "meanwhile"})
        relay.symlink_to(real)
        assert following.stderr.readline() == "gateway: Redis answers again.\n"
        assert following.stdout.readline() == "meanwhile\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=20) == 130
        assert following.stderr.read().strip() == "gateway: Stopped."


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


def resigned(record: Any, **changes: Any) -> str:
    """The record of an act as anybody can make it, who knows what makes unsigned ones."""
    forged = {**record, "signer": "", **changes}
    return json.dumps({**forged, "hash": digest(forged, b"unsigned")})


@pytest.mark.parametrize("forgery", ["an act made up", "a chain rewritten"])
def test_an_act_on_a_key_that_anybody_could_have_made_is_bad_but_where_it_is_meant(
    forgery: str, vault: VaultCommands, redis: Any
) -> None:
    made = vault.gateway("keys", "create", "--consumer", "sales", "--scope", "agents/*")
    assert made.code == 0 and vault.gateway("audit", "verify").code == 0
    (first, fields), (last, end) = redis.xrange("gw:audit")
    act, its_end = json.loads(fields["record"]), json.loads(end["record"])
    if forgery == "an act made up":
        text = resigned(act, actor="operator:innocent", event="key.revoke", chain="abcdefabcdef")
        bad = redis.xadd("gw:audit", {"record": text})
    else:
        redis.delete("gw:audit")
        text = resigned(act, actor="operator:innocent")
        bad = redis.xadd("gw:audit", {"record": text}, id=first)
        text = resigned(its_end, prev=json.loads(text)["hash"])
        redis.xadd("gw:audit", {"record": text}, id=last)
    ended = vault.gateway("audit", "verify", "--json")
    assert ended.code == 1 and not ended.json["ok"] and ended.json["bad"] == bad
    assert "not signed" in ended.json["reason"] and "--allow-unsigned" in ended.said
    assert vault.gateway("audit", "anchor").code == 1
    for words in ("verify", "anchor"):
        assert vault.gateway("audit", words, "--allow-unsigned").code == 0
    told = vault.gateway("audit", "verify", "--allow-unsigned", "--json")
    assert told.json["unsigned"] == (1 if forgery == "an act made up" else 2)


def test_an_act_that_nobody_signs_says_so_when_it_is_done(vault: VaultCommands) -> None:
    create = ("keys", "create", "--consumer", "sales", "--scope", "agents/*", "--json")
    made = vault.gateway(*create, GATEWAY_MASTER_KEY="")
    assert made.code == 0 and made.json["id"]
    assert "not signed" in made.said and "GATEWAY_MASTER_KEY_FILE" in made.said
    assert "not signed" not in vault.gateway(*create).said
    for looked, code in ((("list",), 0), (("revoke", "0" * 12), 1)):
        ended = vault.gateway("keys", *looked, GATEWAY_MASTER_KEY="")
        assert ended.code == code and "not signed" not in ended.said


def test_acts_without_the_master_key_hide_nothing_worse(vault: VaultCommands, redis: Any) -> None:
    create = ("keys", "create", "--consumer", "sales", "--scope", "agents/*")
    assert vault.gateway(*create, GATEWAY_MASTER_KEY="").code == 0
    assert "no master key" in vault.gateway("audit", "verify", GATEWAY_MASTER_KEY="").said.lower()
    assert vault.gateway("audit", "verify", "--allow-unsigned").code == 0
    for name in ("aa", "bb"):
        vault.set(name, "v")
    entries = redis.xrange("gw:audit")
    redis.xdel("gw:audit", entries[2][0])
    for more in ((), ("--allow-unsigned",)):
        ended = vault.gateway("audit", "verify", *more, "--json")
        assert ended.code == 1 and ended.json["bad"] == entries[3][0]


def test_an_export_begins_where_it_is_asked_to(vault: VaultCommands) -> None:
    vault.set("aa", "v")
    whole = vault.gateway("audit", "export").out
    assert whole
    for since in ("2h", "2026-01-31", "1700000000"):
        assert vault.gateway("audit", "export", "--since", since).out == whole
    time.sleep(1.1)  # The stream counts by the clock, and a second is the least that can be asked.
    none = vault.gateway("audit", "export", "--since", str(int(time.time())))
    assert none.out == ""
    assert "nothing was exported" in none.said
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
    assert ended.code == 1 and ended.json["bad"] == "line 1"


@pytest.mark.parametrize("damage", ["first record dropped", "last record cut"])
def test_a_file_that_lost_its_beginning_or_a_part_of_its_end_is_bad_but_for_a_partial_one(
    damage: str, vault: VaultCommands, tmp_path: Path
) -> None:
    vault.set("aa", "v")
    assert vault("rotate", "aa", value="w").code == 0
    text = vault.gateway("audit", "export").out
    file = tmp_path / "audit.jsonl"
    file.write_text(text.partition("\n")[2] if "first" in damage else text[:-20])
    verify = ("audit", "verify", "--file", str(file))
    ended = vault.gateway(*verify)
    assert ended.code == 1
    assert ("add --partial" in ended.said) is ("first" in damage)
    ended = vault.gateway(*verify, "--partial", "--json")
    assert ended.code == 0
    assert (ended.json["late"], ended.json["torn"]) == ((1, 0) if "first" in damage else (0, 1))


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


def test_a_chain_that_is_cut_at_its_end_is_found_with_an_anchor_alone(
    vault: VaultCommands, redis: Any, tmp_path: Path
) -> None:
    for name in ("aa", "bb"):
        vault.set(name, "v")
    path = tmp_path / "anchor.json"
    made = vault.gateway("audit", "anchor", "--out", str(path))
    assert made.code == 0 and "2 chains" in made.said
    assert path.read_text() != "" and vault.gateway("audit", "anchor").json["chains"]
    vault.set("cc", "v")
    good = vault.gateway("audit", "verify", "--anchor", str(path), "--json")
    assert good.code == 0 and good.json["passed"] == 0
    last_of_bb = redis.xrange("gw:audit")[3][0]
    redis.xdel("gw:audit", last_of_bb)
    assert vault.gateway("audit", "verify").code == 0, "its writer may have been killed"
    ended = vault.gateway("audit", "verify", "--anchor", str(path), "--json")
    assert ended.code == 1 and ended.json["bad"].startswith("chain ")
    assert ended.json["reason"] == "it ends with number 1, and the anchor has number 2"
    said = vault.gateway("audit", "verify", "--anchor", str(path)).said
    assert "ends with number 1" in said


def test_an_anchor_that_the_records_do_not_reach_any_more_is_not_replaced(
    vault: VaultCommands, redis: Any, tmp_path: Path
) -> None:
    path = tmp_path / "anchor.json"
    path.write_text("")
    again = ("audit", "anchor", "--out", str(path))
    for name in ("aa", "bb"):
        vault.set(name, "v")
        assert vault.gateway(*again).code == 0, "each goes on from the one before"
    before = path.read_text()
    redis.xdel("gw:audit", redis.xrange("gw:audit")[3][0])
    refused = vault.gateway(*again)
    assert refused.code == 1 and refused.is_one_sentence()
    assert "the anchor has number 2" in refused.said and "is left as it was" in refused.said
    assert path.read_text() == before
    (command,) = re.findall(r"See 'gateway (.+?)'", refused.said)
    assert vault.gateway(*command.split()).code == 1, "it shows the same"
    path.write_text("no anchor, but a file that somebody needs")
    assert vault.gateway(*again).code == 1 and "somebody needs" in path.read_text()


def test_an_anchor_that_there_is_no_room_for_leaves_the_one_before(
    vault: VaultCommands, tmp_path: Path
) -> None:
    vault.set("aa", "v")
    path = tmp_path / "anchor.json"
    words = (*COMMAND, "audit", "anchor", "--out", str(path))
    assert vault.gateway(*words[len(COMMAND) :]).code == 0
    before = path.read_text()
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", *words],
        env=vault.environment(),
        cwd=tmp_path,
        capture_output=True,
    )
    assert ended.returncode == 1 and b"cannot be written" in ended.stderr
    assert path.read_text() == before
    assert not list(tmp_path.glob(".anchor*"))


def test_an_anchor_is_taken_as_it_was_signed_alone(vault: VaultCommands, tmp_path: Path) -> None:
    vault.set("aa", "v")
    path = tmp_path / "anchor.json"
    path.write_text(vault.gateway("audit", "anchor").out.replace('"seq":2', '"seq":1'))
    ended = vault.gateway("audit", "verify", "--anchor", str(path))
    assert ended.code == 1 and "it was changed" in ended.said and ended.is_one_sentence()
    path.write_text("{}")
    ended = vault.gateway("audit", "verify", "--anchor", str(path))
    assert ended.code == 1 and "no anchor" in ended.said and ended.is_one_sentence()
    unsigned = vault.gateway("audit", "anchor", GATEWAY_MASTER_KEY="")
    assert unsigned.code == 1 and unsigned.out == ""
    nowhere = vault.gateway("audit", "anchor", "--out", "/no/such/folder/anchor")
    assert nowhere.code == 1 and nowhere.said.count("\n") == 1


def test_there_is_no_anchor_of_records_that_are_bad(vault: VaultCommands, redis: Any) -> None:
    vault.set("aa", "v")
    vault.set("bb", "v")
    redis.xdel("gw:audit", redis.xrange("gw:audit")[2][0])
    ended = vault.gateway("audit", "anchor")
    assert ended.code == 1 and ended.out == "" and "is bad" in ended.said


def test_what_retention_dropped_is_said_and_is_no_alarm(
    vault: VaultCommands, redis: Any, tmp_path: Path
) -> None:
    vault.set("aa", "v")
    path = tmp_path / "anchor.json"
    assert vault.gateway("audit", "anchor", "--out", str(path)).code == 0
    vault.set("bb", "v")
    redis.xtrim("gw:audit", maxlen=1, approximate=False)
    asked = ("audit", "verify", "--anchor", str(path))
    ended = vault.gateway(*asked)
    assert ended.code == 1 and "GATEWAY_AUDIT_RECORDS" in ended.said, "it should be there yet"
    ended = vault.gateway(*asked, GATEWAY_AUDIT_RECORDS="1")
    assert ended.code == 0
    assert "Not compared with the anchor: 1 chain, " in ended.said
    assert "1 chain began earlier" in ended.said


def test_whoever_verifies_what_retention_trimmed_is_told_what_to_say(
    vault: VaultCommands, redis: Any, tmp_path: Path
) -> None:
    """Of the stream the gateway's settings, of an export that it is no whole one."""
    for name in ("aa", "bb"):
        vault.set(name, "v")
    path = tmp_path / "anchor.json"
    assert vault.gateway("audit", "anchor", "--out", str(path)).code == 0
    redis.xtrim("gw:audit", maxlen=1, approximate=False)
    file = tmp_path / "export.jsonl"
    file.write_text(vault.gateway("audit", "export").out)
    for place, advice in (((), "GATEWAY_AUDIT_RECORDS"), (("--file", str(file)), "--partial")):
        ended = vault.gateway("audit", "verify", *place)
        assert ended.code == 1 and "are missing" in ended.said and advice in ended.said
    assert vault.gateway("audit", "verify", GATEWAY_AUDIT_RECORDS="1").code == 0
    assert vault.gateway("audit", "verify", "--file", str(file), "--partial").code == 0
    # All that is left is of a chain that the anchor knows nothing of.
    redis.delete("gw:audit")
    vault.set("cc", "v")
    ended = vault.gateway("audit", "verify", "--anchor", str(path))
    assert ended.code == 1 and "GATEWAY_AUDIT_RECORDS" in ended.said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_AUDIT_RECORDS", "0"),
        ("GATEWAY_AUDIT_AGE", "old"),
        ("GATEWAY_AUDIT_FILE_SIZE", "1KB"),
        ("GATEWAY_AUDIT_FILE_KEEP", "-1"),
        ("GATEWAY_AUDIT_FILE_SYNC", "sometimes"),
    ],
)
def test_a_setting_that_cannot_be_is_told_by_its_name(
    vault: VaultCommands, name: str, value: str
) -> None:
    settings = {"GATEWAY_AUDIT_FILE": "audit.jsonl", name: value}
    ended = vault.gateway("audit", "verify", **settings)
    assert ended.code == 2 and name in ended.said and ended.is_one_sentence()
