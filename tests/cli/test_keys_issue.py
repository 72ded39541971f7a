"""`keys create` and `rotate`: the key alone on stdout, once, and everything else on stderr."""

import json
import platform
import stat
import subprocess
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.crypto.argon2 import verify
from gateway.domain.keys import key as key_grammar
from tests.cli.commands import COMMAND, Commands, Ended

SHAPE = ["id", "key", "consumer", "scopes", "plan", "expires_at"]
SALES = ("create", "--consumer", "sales", "--scope", "agents/support:chat")


async def record(client: Redis, key_id: str) -> dict[str, str]:
    held: dict[str, str] = await client.hgetall(f"gw:key:{{{key_id}}}")
    return held


async def test_create_prints_the_shape_that_programs_rely_on(keys: Commands, client: Redis) -> None:
    made = keys(*SALES, "--scope", "models/gpt-4", "--expires", "30d", "--json")
    assert made.code == 0
    assert list(made.json) == SHAPE
    key = key_grammar.parse(made.json["key"])
    assert key is not None
    assert made.json["id"] == key.id
    assert made.json["scopes"] == ["agents/support:chat", "models/gpt-4"]
    assert made.json["plan"] is None
    assert made.json["expires_at"] == pytest.approx(time.time() + 30 * 86400, abs=60)
    held = await record(client, key.id)
    assert verify(held["hash"], key.text)
    assert held["expires_at"] == str(made.json["expires_at"])
    assert held["created_by"]
    assert held["tag"]


async def test_every_option_lands_in_its_field(keys: Commands, client: Redis) -> None:
    key = keys.create(
        *("--users", "u1,u2", "--limits", "rate=5/s burst=10", "--env", "test"),
        *("--label", "for the demo", "--expires", "2030-01-01"),
    )
    held = await record(client, key.id)
    assert key.text.startswith("agk_test_")
    assert (held["users"], held["limits"]) == ("u1 u2", "rate=5/s burst=10")
    assert (held["env"], held["label"]) == ("test", "for the demo")
    assert held["expires_at"] == "1893456000"


def test_the_key_is_alone_on_stdout_and_the_next_step_does_not_repeat_it(keys: Commands) -> None:
    made = keys(*SALES)
    key = key_grammar.parse(made.out.removesuffix("\n"))
    assert key is not None
    assert "shown once: keep it now, Redis holds only its hash." in made.said
    assert 'curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/agents/support/' in made.said
    assert key.text[22:] not in made.said
    quiet = keys(*SALES, "--quiet")
    assert key_grammar.parse(quiet.out.removesuffix("\n")) is not None
    assert "curl" not in quiet.said
    # What is not behind /agents/ is not called there.
    for scope in ("gateway/admin", "models/gpt-4"):
        other = keys("create", "--consumer", "sales", "--scope", scope)
        assert "shown once" in other.said
        assert "curl" not in other.said


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("agents/support:chat", 'curl -X POST -H "Authorization: Bearer $KEY" URL/support/chat'),
        ("agents/support:look", 'curl -H "Authorization: Bearer $KEY" URL/support/look'),
        ("agents/support:files", 'curl -H "Authorization: Bearer $KEY" URL/support/'),
    ],
)
def test_the_next_step_is_a_call_that_the_key_may_make(
    keys: Commands, scope: str, told: str
) -> None:
    keys.write_plans(
        "  any: {rate: 1/s}\nagents:\n  support:\n    upstream: http://127.0.0.1:9101\n"
        "    routes: [{path: /files/**, action: files}, {path: /chat, methods: [POST], "
        "action: chat}, {path: /look, methods: [GET, POST], action: look}]\n"
    )
    made = keys("create", "--consumer", "sales", "--scope", scope)
    assert f"{told.replace('URL', 'http://127.0.0.1:8080/agents')}\n" in made.said


async def test_the_next_step_calls_the_gateway_that_listens_here(
    keys: Commands, client: Redis
) -> None:
    worker = {"host": platform.node(), "pid": "1", "listen": "127.0.0.1:9470"}
    await client.hset(f"gw:worker:{platform.node()}:1", mapping=worker)
    assert "http://127.0.0.1:9470/agents/support/" in keys(*SALES).said


@pytest.mark.parametrize("listen", ["192.0.2.1:80", "x$(id):80", "\x1b[2J:80", "x"])
async def test_whoever_writes_to_redis_does_not_say_where_a_new_key_is_sent(
    keys: Commands, client: Redis, listen: str
) -> None:
    host = platform.node()
    for pid, told in (("1", listen), ("2", "127.0.0.1:9470")):
        worker = {"host": host, "pid": pid, "listen": told}
        await client.hset(f"gw:worker:{host}:{pid}", mapping=worker)
    assert '$KEY" http://127.0.0.1:9470/agents/support/\n' in keys(*SALES).said


def test_what_is_to_be_pasted_into_a_shell_is_quoted(keys: Commands) -> None:
    around = keys.environment() | {"GATEWAY_URL": "http://[::1]:9470/$(id)/"}
    ended = subprocess.run(
        [*COMMAND, "keys", *SALES], cwd=keys.folder, env=around, capture_output=True, text=True
    )
    assert "$KEY\" 'http://[::1]:9470/$(id)/agents/support/'\n" in ended.stderr


def test_a_key_that_cannot_be_printed_is_said_to_be_lost(keys: Commands) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = keys.gateway("keys", *SALES, "--quiet", stdout=full)
    assert ended.code == 1 and "is lost: 'gateway keys rotate" in ended.said


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--consumer", "sales"),
        ("create", "--scope", "agents/*"),
        (*SALES, "--scope", "agnts/x"),
        (*SALES, "--scope", "gateway/*"),
        (*SALES, "--expires", "2020-01-01"),
        (*SALES, "--expires", "1000"),
        (*SALES, "--expires", "soon"),
        (*SALES, "--users", "a b!"),
        (*SALES, "--limits", "rate=fast"),
        (*SALES, "--label", "a\nb"),
        (*SALES, "--env", "prod"),
        (*SALES, "--consumer", ""),
        ("rotate",),
        ("rotate", "short"),
        ("rotate", "4xT9mQ2LrB7c", "--consumer", "sales"),
        ("rotate", "4xT9mQ2LrB7c", "--grace", "long"),
        ("rotate", "4xT9mQ2LrB7c", "9zZ9zZ9zZ9zZ"),
        ("rotate", "--consumer", "sales"),
    ],
)
async def test_wrong_usage_is_exit_2_and_changes_nothing(
    keys: Commands, client: Redis, arguments: tuple[str, ...]
) -> None:
    ended = keys(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.said
    assert await client.keys("*") == []


def test_a_scope_that_opens_nothing_is_warned_of_and_granted_all_the_same(keys: Commands) -> None:
    (keys.folder / "policies").mkdir()
    (keys.folder / "policies" / "a.yaml").write_text(
        "version: 1\nagents:\n  echo: {upstream: 'http://127.0.0.1:9101'}\n"
    )
    create = ("create", "--consumer", "sales", "--scope")
    typo = keys(*create, "agents/ech", "--json")
    assert (typo.code, typo.json["scopes"]) == (0, ["agents/ech"])
    warning = "gateway: The scope agents/ech opens nothing yet: no policy has agents/ech; "
    assert f"{warning}did you mean agents/echo?\n" in typo.said
    key_id = typo.json["id"]
    right = keys("update", key_id, "--scope", "agents/echo:invoke", "--json")
    assert right.code == 0 and "opens" not in right.said
    wrong = keys("update", key_id, "--scope", "agents/echo:invok", "--json")
    assert (wrong.code, wrong.json["scopes"]) == (0, ["agents/echo:invok"])
    assert "did you mean agents/echo:invoke?" in wrong.said
    # Pasted into the wrong place, a key is not said again.
    secret = "b" * 32
    pasted = keys("update", key_id, "--scope", f"agents/agk_live_{key_id}_{secret}", "--json")
    assert "opens nothing yet" in pasted.said and secret not in pasted.said
    # Keys may be made before there are policies.
    (keys.folder / "policies" / "a.yaml").unlink()
    (keys.folder / "policies").rmdir()
    assert "opens nothing" not in keys(*create, "agents/ech", "--json").said


def test_a_plan_must_be_one_that_the_policies_have(keys: Commands) -> None:
    keys.write_plans("  standard: {rate: 10/s}\n")
    typo = keys(*SALES, "--plan", "standart")
    assert typo.code == 2
    assert "did you mean 'standard'" in typo.said
    named = keys(*SALES, "--plan", "standard", "--json")
    assert (named.code, named.json["plan"]) == (0, "standard")
    without = keys(*SALES, "--json")
    assert without.json["plan"] is None
    assert "no plan 'default'" in without.said


def test_what_is_refused_is_told_in_one_sentence_without_warnings(keys: Commands) -> None:
    keys.write_plans("  standard: {rate: 10/s}\n")
    key_id = keys(*SALES, "--json").json["id"]
    nowhere = ("--scope", "agents/nowhere", "--expires", "1")
    for refused in (keys(*SALES, *nowhere), keys("update", key_id, *nowhere)):
        assert refused.code == 2
        assert refused.said.count("\n") == 1 and "in the past" in refused.said


def test_the_plan_named_default_is_taken_where_none_is_given(keys: Commands) -> None:
    keys.write_plans("  default: {rate: 10/s}\n")
    made = keys(*SALES, "--json")
    assert made.json["plan"] == "default"
    assert "plan" not in made.said


def test_where_the_policies_cannot_be_read_a_plan_is_taken_with_a_warning(keys: Commands) -> None:
    made = keys(*SALES, "--plan", "standard", "--json")
    assert made.json["plan"] == "standard"
    assert "was not checked" in made.said


async def test_a_repeat_with_the_idempotency_key_replaces_the_lost_secret(
    keys: Commands, client: Redis
) -> None:
    first = keys(*SALES, "--expires", "30d", "--idempotency-key", "K", "--json").json
    again = keys(*SALES, "--expires", "30d", "--idempotency-key", "K", "--json").json
    assert again["id"] == first["id"]
    assert again["key"] != first["key"]
    other = keys("create", "--consumer", "hr", "--scope", "*", "--idempotency-key", "K", "--quiet")
    assert other.code == 1
    assert "different request" in other.said
    assert verify((await record(client, first["id"]))["hash"], again["key"])


async def test_an_empty_idempotency_key_makes_and_changes_nothing(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    before = await record(client, key.id)
    for words in (SALES, ("rotate", key.id)):
        refused = keys(*words, "--idempotency-key", "")
        assert refused.code == 2
        assert refused.is_one_sentence()
    assert len(await client.keys("gw:key:*")) == 1
    assert await record(client, key.id) == before


async def test_rotate_prints_what_create_prints_and_keeps_the_old_secret(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    turned = keys("rotate", key.id, "--grace", "24h", "--json")
    assert list(turned.json) == SHAPE
    assert turned.json["id"] == key.id
    held = await record(client, key.id)
    assert verify(held["hash"], turned.json["key"])
    assert verify(held["previous_hash"], key.text)
    cut = keys("rotate", key.id)
    assert "stopped working at once" in cut.said
    assert "previous_hash" not in await record(client, key.id)


def test_a_repeat_for_a_department_leaves_the_keys_alone_that_it_got_meanwhile(
    keys: Commands, tmp_path: Path
) -> None:
    def rotated(name: str, *more: str, consumer: str = "sales") -> Ended:
        words = ("--consumer", consumer, "--yes", "--out", str(tmp_path / name))
        return keys("rotate", *words, "--idempotency-key", "K", *more)

    def ids(name: str) -> list[str]:
        return [json.loads(line)["id"] for line in (tmp_path / name).read_text().splitlines()]

    first = sorted(keys.create().id for _ in range(2))
    assert rotated("lost").code == 0
    keys.create()
    assert rotated("again").code == 0
    assert rotated("once-more", "--grace", "1h").code == 0, "the grace is not compared"
    assert ids("lost") == ids("again") == ids("once-more") == first
    assert keys("create", "--consumer", "hr", "--scope", "agents/*").code == 0
    other = rotated("other", consumer="hr")
    assert other.code == 1 and not (tmp_path / "other").exists()


def test_any_bytes_are_an_idempotency_key(keys: Commands, tmp_path: Path) -> None:
    first = keys.create("--idempotency-key", "K\udcff")
    assert keys.create("--idempotency-key", "K\udcff").id == first.id
    words = ("--consumer", "sales", "--yes", "--out", str(tmp_path / "out"))
    assert keys("rotate", *words, "--idempotency-key", "L\udcff").code == 0


def test_a_burst_without_any_rate_is_refused(keys: Commands) -> None:
    keys.write_plans("  default: {quota: 100/d}\n  standard: {rate: 10/s}\n")
    refused = keys(*SALES, "--limits", "burst=5")
    assert refused.code == 2
    assert refused.is_one_sentence()
    assert "'burst' means nothing without 'rate'" in refused.said
    assert keys(*SALES, "--limits", "burst=5", "--plan", "standard").code == 0
    assert keys(*SALES, "--limits", "rate=1/s burst=5").code == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "disabled"}, "is disabled: 'gateway keys enable {id}'"),
        ({"status": "revoked"}, "was not active, so its old secret has no grace"),
        ({"expires_at": "1700000000"}, "is expired: 'gateway keys update {id} --expires 30d'"),
        ({"limits": "nonsense"}, "'gateway keys show {id}' says what is wrong"),
        ({"status": "canary"}, "{id} is a decoy: its use is refused and told"),
    ],
)
@pytest.mark.parametrize("grace", ["0", "1h"])
async def test_rotating_says_what_still_keeps_the_key_from_working(
    keys: Commands, client: Redis, fields: dict[str, str], said: str, grace: str
) -> None:
    key = keys.create()
    await client.hset(f"gw:key:{{{key.id}}}", mapping=fields)
    told = keys("rotate", key.id, "--grace", grace).said
    assert said.format(id=key.id) in told
    assert ("old secret stopped" in told or "works until" in told) == ("limits" in fields), told


@pytest.mark.parametrize("brief", ["--json", "--quiet"])
async def test_a_script_that_rotates_is_told_what_is_not_as_it_asked(
    keys: Commands, client: Redis, brief: str
) -> None:
    key = keys.create()
    assert "secret" not in keys("rotate", key.id, "--grace", "1h", brief).said
    assert "secret" not in keys("rotate", key.id, brief).said
    keys("disable", key.id)
    told = keys("rotate", key.id, "--grace", "1h", brief)
    assert told.code == 0
    assert "its old secret has no grace" in told.said
    assert f"gateway keys enable {key.id}" in told.said
    keys("revoke", key.id)
    assert "secret" not in keys("rotate", key.id, brief).said


def test_whoever_makes_a_decoy_is_not_told_to_call_with_it(keys: Commands) -> None:
    said = keys(*SALES, "--canary").said
    assert "Put it where nobody should look" in said and "curl" not in said


async def test_a_department_s_new_keys_go_into_a_file_of_its_owner_only(
    keys: Commands, client: Redis
) -> None:
    made = {keys.create().id for _ in range(3)}
    closed = keys.create()
    keys("revoke", closed.id)
    other = keys("create", "--consumer", "hr", "--scope", "*", "--quiet").out.strip()
    out = keys.folder / "new.jsonl"
    turned = keys("rotate", "--consumer", "sales", "--out", str(out), "--yes", "--json")
    assert turned.code == 0
    assert {row["id"] for row in turned.json["results"]} == made
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["id"] for line in lines} == made
    for line in lines:
        assert list(line) == SHAPE
        assert verify((await record(client, line["id"]))["hash"], line["key"])
        assert line["key"] not in turned.out + turned.said
    assert (await record(client, closed.id))["status"] == "revoked"
    assert verify((await record(client, other[9:21]))["hash"], other)


async def test_a_file_that_exists_is_not_overwritten_and_nothing_is_rotated(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    out = keys.folder / "new.jsonl"
    out.write_text("mine")
    for path in (out, keys.folder / "no" / "such" / "folder"):
        turned = keys("rotate", "--consumer", "sales", "--out", str(path), "--yes")
        assert turned.code == 1
        assert turned.is_one_sentence()
    assert out.read_text() == "mine"
    assert verify((await record(client, key.id))["hash"], key.text)
