"""`gateway credentials`: values go in and never come out."""

import json
import signal
import subprocess
from typing import Any

import pytest
from redis import Redis

from gateway.crypto.envelope import Envelope, MasterKeys, master_key_id
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.settings import StoreSettings
from tests.cli.commands import COMMAND, MASTER, OTHER_MASTER, VaultCommands

ENVELOPE, BOTH = Envelope(MasterKeys((b"m" * 32,))), Envelope(MasterKeys((b"n" * 32, b"m" * 32)))
SECRET = "sk-marked-4f9a8b7c6d5e"


@pytest.fixture
def redis(store: StoreSettings) -> Any:
    client = Redis.from_url(store.url or "")
    yield client
    client.close()


def record(redis: Any, name: str) -> Any:
    return json.loads(redis.get(f"gw:cred:{{vault}}:item:{name}"))


def test_a_credential_is_set_listed_shown_rotated_and_deleted(vault: VaultCommands) -> None:
    made = vault("set", "openai_key", "--type", "api_key", "--json", value=SECRET)
    assert made.code == 0 and made.said == ""
    assert made.json["name"] == "openai_key" and made.json["version"] == 1
    assert made.json["fields"] == ["value"] and made.json["state"] == "ok"
    vault.set("crm", json.dumps({"username": "u", "password": SECRET}), kind="basic")
    vault.set("user/alice/github", SECRET, kind="bearer")
    rotated = vault("rotate", "openai_key", "--grace", "10m", "--json", value=SECRET + "2")
    assert rotated.json["version"] == 2
    assert 590 < rotated.json["grace_until"] - rotated.json["rotated_at"] <= 600
    listed = vault("list", "--json").json["credentials"]
    assert [one["name"] for one in listed] == ["crm", "openai_key", "user/alice/github"]
    shown = vault("show", "openai_key", "--json")
    assert shown.json == listed[1]
    table = vault("list").out + vault("show", "crm").out
    assert "user/alice/github" in table and "password" in table
    deleted = vault("delete", "openai_key", "--yes", "--json")
    assert deleted.json == {"name": "openai_key", "deleted": True}
    assert vault("show", "openai_key").code == 1
    again = vault("set", "openai_key", "--type", "api_key", "--json", value=SECRET)
    assert again.json["version"] == 3, "a number never means two values"


def test_a_value_is_in_no_output_and_not_in_redis(vault: VaultCommands, redis: Any) -> None:
    said = []
    for words in (
        ("set", "aa", "--type", "api_key"),
        ("set", "bb", "--type", "api_key", "--json"),
        ("rotate", "aa", "--grace", "1h"),
        ("rotate", "bb", "--json"),
        ("set", "cc", "--type", "basic"),
        ("set", "Bad Name", "--type", "api_key"),
        ("set", "aa", "--type", "nonsense"),
        ("set", "aa", SECRET, "--type", "api_key"),
        ("set", SECRET, "--type", "api_key"),
        ("rotate", SECRET),
        ("show", "aa", "--json"),
        ("list",),
        ("list", "--json"),
        ("rewrap", "--json"),
        ("delete", "aa", "--yes"),
    ):
        ended = vault(*words, value=SECRET)
        said.append(ended.out + ended.said)
    assert SECRET not in "".join(said)
    kept = b"".join(redis.get(n) or b"" for n in redis.keys("*item:*"))
    assert kept and SECRET.encode() not in kept


@pytest.mark.parametrize(
    ("kind", "value", "fields"),
    [
        ("api_key", "plain", ["value"]),
        ("api_key", "plain\n", ["value"]),
        ("api_key", '{"value": "plain"}', ["value"]),
        ("bearer", '{"not": "fields, but a value"}', ["value"]),
        ("basic", '{"username": "u", "password": "p"}', ["password", "username"]),
        ("ak_sk", '{"access_key_id": "a", "access_key_secret": "s", "account_id": "1"}',
         ["access_key_id", "access_key_secret", "account_id"]),
        ("headers", '{"X-Token": "t"}', ["X-Token"]),
        ("oauth2",
         '{"token_url": "https://u", "client_id": "c", "client_secret": "s", "scopes": ["a"]}',
         ["client_id", "client_secret", "scopes", "token_url"]),
        ("database", "postgresql://u:p@h/d", ["url"]),
        ("database",
         '{"host": "h", "port": 5432, "username": "u", "password": "p", "name": "d"}',
         ["host", "name", "password", "port", "username"]),
        ("custom", "anything\nat all", ["value"]),
        ("custom", '{"a": "1", "b": "2"}', ["a", "b"]),
        ("custom", '{"no json', ["value"]),
    ],
)  # fmt: skip
def test_every_type_takes_its_value_from_stdin(
    kind: str, value: str, fields: list[str], vault: VaultCommands
) -> None:
    made = vault("set", "aa", "--type", kind, "--json", value=value)
    assert made.json["fields"] == fields


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://idp.example.com/token", 0),
        ("http://127.0.0.1:9000/token", 0),
        ("http://localhost/token", 0),
        ("http://idp.example.com/token", 2),
        ("https://169.254.169.254/token", 2),
        ("https:///token", 2),
        ("https://user:password@idp.example.com/token", 2),
        ("idp.example.com", 2),
    ],
)
def test_a_token_is_only_fetched_where_its_secret_may_go(
    url: str, code: int, vault: VaultCommands
) -> None:
    given = json.dumps({"token_url": url, "client_id": "c", "client_secret": SECRET})
    ended = vault("set", "idp", "--type", "oauth2", value=given)
    assert ended.code == code
    assert code == 0 or (ended.is_one_sentence() and "token_url" in ended.said)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("basic", {"username": "a:b", "password": SECRET}, "'username' holds a colon"),
        ("headers", {"X-Token": SECRET, "x-token": "t"}, "'X-Token' and 'x-token' are one header"),
    ],
)
def test_fields_that_no_upstream_would_read_as_meant_are_refused(
    kind: str, fields: dict[str, str], told: str, vault: VaultCommands
) -> None:
    ended = vault("set", "aa", "--type", kind, value=json.dumps(fields))
    assert (ended.code, ended.is_one_sentence()) == (2, True)
    assert told in ended.said and SECRET not in ended.said


def test_numbers_and_booleans_become_the_text_that_json_has_for_them(
    vault: VaultCommands, redis: Any
) -> None:
    given = '{"value": 5, "part": -1.5, "on": true, "off": false, "text": "5"}'
    vault.set("num", given, kind="custom")
    kept = ENVELOPE.open(CredentialId("num"), redis.get("gw:cred:{vault}:item:num"))
    assert kept.current.fields == {
        "value": "5",
        "part": "-1.5",
        "on": "true",
        "off": "false",
        "text": "5",
    }


@pytest.mark.parametrize("text", ['{"host": "h",}', '{"a": "1", "a": "2"}', "{template}"])
def test_text_that_only_looks_like_fields_is_kept_whole_and_that_is_said(
    text: str, vault: VaultCommands
) -> None:
    made = vault("set", "aa", "--type", "custom", "--json", value=text)
    assert made.json["fields"] == ["value"] and "kept whole, as 'value'" in made.said
    assert vault("set", "aa", "--type", "custom", "--json", value='{"a": "1"}').said == ""


@pytest.mark.parametrize("text", ['{"key": "v"}', '{"value": "v", "more": "w"}', '{"value": v}'])
def test_json_without_the_one_field_is_kept_whole_and_that_is_said(
    text: str, vault: VaultCommands
) -> None:
    made = vault("set", "aa", "--type", "api_key", value=text)
    assert made.code == 0 and "kept whole, as 'value'" in made.said
    kept = vault("set", "aa", "--type", "api_key", value='{"value": "v"}')
    assert kept.code == 0 and "whole" not in kept.said


def test_a_variable_that_no_shell_replaced_is_kept_and_that_is_said(vault: VaultCommands) -> None:
    for text in ("$OPENAI_API_KEY", "${OPENAI_API_KEY}", "os.environ/OPENAI_API_KEY"):
        made = vault("set", "aa", "--type", "api_key", value=text)
        assert made.code == 0 and "looks like an environment variable" in made.said
        assert "OPENAI" not in made.said
    assert "variable" not in vault("set", "aa", "--type", "api_key", value="$ecret").said


def test_a_value_may_be_in_a_file(vault: VaultCommands) -> None:
    (vault.folder / "value").write_text('{"username": "u", "password": "p"}\n')
    made = vault("set", "bb", "--type", "basic", "--json", "--from-file", "value")
    assert made.json["fields"] == ["password", "username"]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("set", "aa", "--type", "api_key"), ""),
        (("set", "aa", "--type", "api_key"), "two\nlines"),
        (("set", "aa", "--type", "api_key"), b"\xff\xfe"),
        (("set", "aa", "--type", "basic"), "no json"),
        (("set", "aa", "--type", "basic"), '{"username": "u"}'),
        (("set", "aa", "--type", "basic"), '{"username": "u", "password": {"deep": "p"}}'),
        (("set", "aa", "--type", "basic"), '{"username": "u", "username": "v", "password": "p"}'),
        (("set", "aa", "--type", "custom"), '{"value": 5, "c": null}'),
        (("set", "aa", "--type", "custom"), '{"value": ["a"]}'),
        (("set", "aa", "--type", "custom"), '{"value": {"deep": "p"}}'),
        (("set", "aa", "--type", "headers"), '{"X-Token": "t", "Content-Length": "1"}'),
        (("set", "aa", "--type", "headers"), '{"host": "elsewhere"}'),
        (("set", "aa", "--type", "headers"), '{"X-Token": "t", "x-token": "u"}'),
        (("rotate", "own_headers"), '{"Connection": "close"}'),
        (("set", "aa", "--type", "database"), '{"host": "h", "port": 5432,}'),
        (("set", "aa", "--type", "database"), '{"url": "a", "url": "b"}'),
        (("set", "aa", "--type", "api_key", "--from-file", "missing"), ""),
        (("set", "aa", "--type", "api_key", "--max-stale", "soon"), "v"),
        (("set", "aa", "--type", "api_key", "--expires", "yesterday"), "v"),
        (("rotate", "nothing"), "v"),
        (("rotate", "kept", "--grace", "soon"), "v"),
        (("show", "nothing"), ""),
        (("delete", "nothing", "--yes"), ""),
        (("delete", "kept"), ""),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    words: tuple[str, ...], value: str | bytes, vault: VaultCommands, redis: Any
) -> None:
    kept = Credential(CredentialId("kept"), "api_key", Version(1, {"value": SECRET}))
    redis.set("gw:cred:{vault}:item:kept", ENVELOPE.seal(kept))
    own = Credential(CredentialId("own_headers"), "headers", Version(1, {"X-Token": SECRET}))
    redis.set("gw:cred:{vault}:item:own_headers", ENVELOPE.seal(own))
    before = {name: redis.dump(name) for name in redis.keys("*")}
    ended = vault(*words, value=value)
    assert ended.code in (1, 2) and ended.is_one_sentence(), ended
    assert before == {name: redis.dump(name) for name in redis.keys("*")}


def test_a_deletion_says_first_where_policies_need_the_credential(vault: VaultCommands) -> None:
    (vault.folder / "policies").mkdir()
    (vault.folder / "policies" / "a.yaml").write_text(
        "version: 1\nmodels:\n  - {name: gpt-4, credential: '${credentials.openai_key}'}\n"
        "tools:\n  fc:\n    transport: http\n    upstream: http://127.0.0.1:9200/mcp\n"
        "    inject: {headers: {X-Token: '${user.github.value}'}}\n"
    )
    for name in ("openai_key", "github", "user/alice/github"):
        vault.set(name, SECRET)
    place = f"{vault.folder}/policies/a.yaml:3:31"
    nobody = vault("delete", "openai_key")
    assert nobody.code == 2
    warned, refused = nobody.said.splitlines()
    assert warned.startswith(f"gateway: Policies name 'openai_key' at {place}: without it, ")
    assert "add --yes" in refused
    done = vault("delete", "openai_key", "--yes", "--json")
    assert (done.code, done.json) == (0, {"name": "openai_key", "deleted": True})
    assert place in done.said
    # Whose calls need one of a user's own is that user's affair.
    for name in ("github", "user/alice/github"):
        assert "Policies" not in vault("delete", name, "--yes").said


def test_a_rotation_replaces_the_fields_that_are_given(vault: VaultCommands) -> None:
    fields = {"access_key_id": "a", "access_key_secret": "s", "account_id": "1"}
    vault.set("ali", json.dumps(fields), "--expires", "30d", "--max-stale", "5m", kind="ak_sk")
    before = vault("show", "ali", "--json").json
    assert vault("rotate", "ali", value='{"access_key_secret": "t"}').code == 0
    after = vault("show", "ali", "--json").json
    assert after["fields"] == before["fields"]
    assert (after["expires_at"], after["max_stale"]) == (before["expires_at"], 300)
    assert after["grace_until"] is None
    assert vault("rotate", "ali", "--expires", "never", value='{"account_id": "2"}').code == 0
    assert vault("show", "ali", "--json").json["expires_at"] is None


def test_an_expiry_that_is_near_shows(vault: VaultCommands) -> None:
    vault.set("near", "v", "--expires", "13d")
    vault.set("far", "v", "--expires", "15d")
    states = {c["name"]: c["state"] for c in vault("list", "--json").json["credentials"]}
    assert states == {"near": "expiring", "far": "ok"}


def test_a_rotation_says_where_the_new_value_ends_with_the_one_before(vault: VaultCommands) -> None:
    vault.set("crm", "first", "--expires", "10d")
    assert "--expires for the new one" in vault("rotate", "crm", value="second").said
    assert "--expires" not in vault("rotate", "crm", "--expires", "10d", value="third").said


def test_of_a_decoy_no_value_is_said_to_be_tried(vault: VaultCommands) -> None:
    vault.set("trap", "first", kind="canary")
    said = vault("rotate", "trap", "--grace", "1h", value="second").said
    assert "is a decoy" in said and "may be tried" not in said


def test_two_rotations_at_once_lose_neither_silently(vault: VaultCommands) -> None:
    vault.set("aa", "v")
    command = [*COMMAND, "credentials", "rotate", "aa"]
    running = [
        subprocess.Popen(
            command, env=vault.environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for one in running:
        assert one.stdin is not None
        one.stdin.write(b"new")
        one.stdin.close()
        one.stdin = None
    said = [one.communicate(timeout=60)[1] for one in running]
    done = sum(one.returncode == 0 for one in running)
    assert done >= 1
    assert vault("show", "aa", "--json").json["version"] == 1 + done
    assert all(
        b"Somebody else" in text for text, one in zip(said, running, strict=True) if one.returncode
    )


def test_with_the_wrong_master_key_nothing_is_read_or_written(
    vault: VaultCommands, redis: Any, store: StoreSettings
) -> None:
    vault.set("aa", SECRET)
    before = {name: redis.dump(name) for name in redis.keys("*")}
    wrong = VaultCommands(store, vault.folder, master=OTHER_MASTER)
    for words in (("set", "bb", "--type", "api_key"), ("rotate", "aa")):
        ended = wrong(*words, value="v")
        assert ended.code == 1 and ended.is_one_sentence()
        assert master_key_id(b"m" * 32) in ended.said
    (listed,) = wrong("list", "--json").json["credentials"]
    assert listed["state"] == "broken" and master_key_id(b"m" * 32) in listed["problem"]
    assert wrong("rewrap").code == 1
    assert before == {name: redis.dump(name) for name in redis.keys("*")}


@pytest.mark.parametrize("bad", ["short", "AAAA", "ü", " "])
def test_a_master_key_that_is_none_is_refused(bad: str, vault: VaultCommands) -> None:
    ended = vault("list", GATEWAY_MASTER_KEY=bad)
    assert bad == " " or (ended.code == 2 and ended.is_one_sentence())
    (vault.folder / "key").write_text(bad)
    ended = vault("list", GATEWAY_MASTER_KEY_FILE=str(vault.folder / "key"))
    assert ended.code == 2 and ended.is_one_sentence()


def test_a_master_key_may_be_in_a_file(vault: VaultCommands) -> None:
    vault.set("aa", SECRET)
    (vault.folder / "key").write_text(f"{MASTER}\n")
    ended = vault(
        "show",
        "aa",
        "--json",
        GATEWAY_MASTER_KEY="",
        GATEWAY_MASTER_KEY_FILE=str(vault.folder / "key"),
    )
    assert ended.json["state"] == "ok"


def test_without_a_master_key_one_is_made_with_a_warning_for_its_owner_alone(
    vault: VaultCommands, store: StoreSettings
) -> None:
    bare = VaultCommands(store, vault.folder, master="")
    first = bare("set", "aa", "--type", "api_key", value=SECRET)
    assert first.code == 0 and "for development" in first.said
    (made,) = vault.folder.rglob("master-key")
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.parent.stat().st_mode & 0o777 == 0o700
    second = bare("list", "--json")
    assert second.said == "" and second.json["credentials"][0]["state"] == "ok"
    assert made.read_text().strip() not in first.said + second.out


@pytest.mark.parametrize(
    ("name", "url"),
    [
        # Nobody's loopback, and nobody is there.
        ("GATEWAY_REDIS_URL", "redis://0.0.0.0:1"),
        ("GATEWAY_REDIS_URL", "redis+cluster://127.0.0.1:1,0.0.0.0:1"),
        ("GATEWAY_VAULT_REDIS_URL", "redis://0.0.0.0:1"),
    ],
)
def test_no_master_key_is_made_for_a_redis_of_another_machine(
    vault: VaultCommands, store: StoreSettings, name: str, url: str
) -> None:
    bare = VaultCommands(store, vault.folder, master="")
    ended = bare("set", "aa", "--type", "api_key", value=SECRET, **{name: url})
    assert ended.code == 1 and ended.is_one_sentence()
    assert not list(vault.folder.rglob("master-key"))


def test_without_a_master_key_credentials_are_listed_and_none_is_removed(
    vault: VaultCommands, store: StoreSettings, redis: Any
) -> None:
    vault.set("aa", SECRET)
    nowhere = {"GATEWAY_STATE_DIR": "/dev/null/state"}
    bare = VaultCommands(store, vault.folder, master="")
    assert bare("list", "--json", **nowhere).json["credentials"][0]["name"] == "aa"
    refused = bare("delete", "aa", "--yes", **nowhere)
    assert refused.code == 1 and refused.said.endswith("set GATEWAY_MASTER_KEY_FILE.\n")
    assert record(redis, "aa")
    assert vault.gateway("audit", "verify").code == 0


def test_the_vault_may_be_in_a_redis_of_its_own(
    vault: VaultCommands, redis: Any, store: StoreSettings
) -> None:
    elsewhere = VaultCommands(StoreSettings(f"{store.url}?db=1", vault.folder), vault.folder)
    ended = elsewhere(
        "set", "aa", "--type", "api_key", value="v", GATEWAY_VAULT_REDIS_URL=store.url or ""
    )
    assert ended.code == 0
    assert record(redis, "aa")["type"] == "api_key"
    assert not redis.exists("gw:audit"), "what happened is told where the keys are"


def test_a_vault_that_is_away_is_one_sentence_that_names_its_own_setting(
    vault: VaultCommands,
) -> None:
    away = {"GATEWAY_VAULT_REDIS_URL": f"unix://{vault.folder}/none"}
    for arguments in (("list",), ("show", "aa"), ("rotate", "aa"), ("rewrap",)):
        ended = vault(*arguments, value=SECRET, **away)
        assert ended.code == 1 and ended.is_one_sentence()
        assert "GATEWAY_VAULT_REDIS_URL" in ended.said


class TestRewrap:
    def test_brings_everything_under_the_first_master_key(
        self, vault: VaultCommands, redis: Any
    ) -> None:
        for i in range(5):
            vault.set(f"c{i}", f"v{i}")
        vault("rotate", "c1", "--grace", "1h", value="w1")
        both = {"GATEWAY_MASTER_KEY": f"{OTHER_MASTER} {MASTER}"}
        assert vault("rewrap", "--json", **both).json == {
            "rewrapped": 5,
            "already": 0,
            "refused": 0,
            "problems": [],
        }
        assert vault("rewrap", "--json", **both).json["already"] == 5
        listed = vault("list", "--json", GATEWAY_MASTER_KEY=OTHER_MASTER).json["credentials"]
        assert [c["state"] for c in listed] == ["ok"] * 5
        assert {c["master_key"] for c in listed} == {master_key_id(b"n" * 32)}
        assert listed[1]["version"] == 2 and listed[1]["grace_until"]

    def test_a_broken_record_is_named_and_holds_up_no_other(
        self, vault: VaultCommands, redis: Any
    ) -> None:
        for name in ("aa", "bb", "cc"):
            vault.set(name, "v")
        redis.set("gw:cred:{vault}:item:bb", "scribble")
        ended = vault("rewrap", GATEWAY_MASTER_KEY=f"{OTHER_MASTER} {MASTER}")
        assert ended.code == 1 and "'bb'" in ended.said
        assert "2 rewrapped" in ended.said

    def test_killed_at_any_moment_everything_stays_readable_and_it_goes_on(
        self, vault: VaultCommands, redis: Any
    ) -> None:
        for i in range(12):
            one = Credential(CredentialId(f"c{i}"), "api_key", Version(1, {"value": f"v{i}"}))
            redis.set(f"gw:cred:{{vault}}:item:c{i}", ENVELOPE.seal(one))
            redis.zadd("gw:cred:{vault}:changes", {f"c{i}": i + 1})
        both = vault.environment(GATEWAY_MASTER_KEY=f"{OTHER_MASTER} {MASTER}")
        writes = 0
        for _ in range(40):
            running = subprocess.Popen(
                [*COMMAND, "credentials", "rewrap"], env=both, stderr=subprocess.PIPE
            )
            # Killed as soon as it has written one more: somewhere in the midst of its commands.
            while running.poll() is None and rewrapped(redis) <= writes:
                pass
            running.send_signal(signal.SIGKILL)
            running.communicate()
            writes = rewrapped(redis)
            for i in range(12):
                blob = redis.get(f"gw:cred:{{vault}}:item:c{i}")
                found = BOTH.open(CredentialId(f"c{i}"), blob)
                assert found.current.fields == {"value": f"v{i}"}
            if writes == 12:
                break
        assert writes == 12


def rewrapped(redis: Any) -> int:
    mine = master_key_id(b"n" * 32).encode()
    return sum(mine in redis.get(name) for name in redis.keys("*item:*"))
