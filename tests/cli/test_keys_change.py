"""`keys revoke`, `disable`, `enable`, `update` and `delete`: one key or a department's."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.commands import COMMAND, Commands

MISSING = "000000000000"


async def field(client: Redis, key_id: str, name: str) -> str | None:
    value: str | None = await client.hget(f"gw:key:{{{key_id}}}", name)
    return value


async def test_revoke_disable_and_enable(keys: Commands, client: Redis) -> None:
    key = keys.create()
    assert keys("disable", key.id).code == 0
    assert await field(client, key.id, "status") == "disabled"
    assert keys("enable", key.id).code == 0
    assert await field(client, key.id, "status") == "active"
    done = keys("revoke", key.id, "--json")
    assert done.json == {"results": [{"id": key.id, "outcome": "revoked", "note": ""}]}
    assert await field(client, key.id, "status") == "revoked"
    refused = keys("enable", key.id)
    assert refused.code == 1
    assert f"gateway keys rotate {key.id}" in refused.said


async def test_on_a_full_redis_a_revocation_deletes_and_needs_no_record(
    keys: Commands, client: Redis
) -> None:
    key, other = keys.create(), keys.create()
    await client.config_set("maxmemory", 1)
    try:
        refused = keys("disable", key.id)
        ended = keys("revoke", key.id, "--json")
        whole = keys("revoke", "--consumer", "sales", "--yes", "--json")
    finally:
        await client.config_set("maxmemory", 0)
    assert (refused.code, ended.code, whole.code) == (1, 0, 0), ended.said
    assert [row["outcome"] for row in ended.json["results"]] == ["deleted"]
    assert f"revocation of key {key.id} has no audit record" in ended.said
    assert not await client.exists(f"gw:key:{{{key.id}}}", f"gw:key:{{{other.id}}}")


async def test_enabling_and_updating_say_what_still_keeps_the_key_from_working(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    await client.hset(f"gw:key:{{{key.id}}}", mapping={"status": "disabled", "expires_at": "17"})
    expired = f"Key {key.id} is expired: 'gateway keys update {key.id} --expires 30d'."
    assert expired in keys("enable", key.id).said
    assert expired in keys("enable", key.id).said
    assert expired in keys("update", key.id, "--label", "x").said
    assert key.id not in keys("update", key.id, "--expires", "30d").said
    assert key.id not in keys("disable", key.id).said


@pytest.mark.parametrize("verb", ["revoke", "disable", "rotate"])
async def test_an_act_on_a_department_leaves_its_decoys_where_they_are(
    keys: Commands, client: Redis, verb: str
) -> None:
    key, decoy = keys.create(), keys.create("--canary")
    before = await client.hgetall(f"gw:key:{{{decoy.id}}}")
    more = ("--out", "new.jsonl") if verb == "rotate" else ()
    done = keys(verb, "--consumer", "sales", "--yes", "--json", *more)
    assert done.code == 0
    assert [row["id"] for row in done.json["results"]] == [key.id]
    assert await client.hgetall(f"gw:key:{{{decoy.id}}}") == before


@pytest.mark.parametrize("verb", ["revoke", "disable", "enable", "rotate", "show"])
def test_an_unknown_id_is_exit_1(keys: Commands, verb: str) -> None:
    ended = keys(verb, MISSING)
    assert ended.code == 1
    assert f"There is no key {MISSING}" in ended.said
    assert ended.said.count("\n") == 1


async def test_several_at_once_are_one_table_and_one_refusal_fails_it(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    ended = keys("revoke", key.id, MISSING, key.id)
    assert ended.code == 1
    assert [line.split() for line in ended.out.splitlines()] == [
        ["ID", "OUTCOME"],
        [key.id, "revoked"],
        [MISSING, "refused"],
    ]
    assert await field(client, key.id, "status") == "revoked"


async def test_a_dry_run_tells_what_the_act_would_tell(keys: Commands, client: Redis) -> None:
    key = keys.create()

    def outcomes(act: str) -> list[str]:
        dry = keys(act, key.id, "--dry-run", "--json").json["results"]
        real = keys(act, key.id, "--json").json["results"]
        return [row["outcome"] for row in (*dry, *real)]

    assert outcomes("disable") == ["would disable", "disabled"]
    assert outcomes("enable") == ["would enable", "enabled"]
    assert outcomes("revoke") == ["would revoke", "revoked"]
    assert outcomes("revoke") == ["unchanged", "unchanged"]
    assert outcomes("enable") == ["refused", "refused"]
    audited = keys.gateway("audit", "tail", "--json", "--key", key.id).out
    assert audited.count('"key.revoke"') == 2


async def test_a_dry_run_tells_of_each_key_why_it_would_be_refused(
    keys: Commands, client: Redis, tmp_path: Path
) -> None:
    hashless = "B" * 12
    await client.hset(f"gw:key:{{{hashless}}}", "status", "active")
    key = keys.create()
    for act, ids in (
        (("rotate", "--out", str(tmp_path / "new.jsonl")), (key.id, MISSING, hashless)),
        (("disable",), (key.id, MISSING)),
    ):
        dry = keys(*act, *ids, "--dry-run", "--json")
        real = keys(*act, *ids, "--json")
        assert dry.json["results"][1:] == real.json["results"][1:]
        assert dry.code == real.code == 1
        assert dry.json["results"][0]["outcome"] == f"would {act[0]}"


async def test_a_department_is_shown_first_and_touched_only_when_confirmed(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    preview = keys("disable", "--consumer", "sales", "--dry-run", "--json")
    assert [row["outcome"] for row in preview.json["results"]] == ["would disable"]
    unasked = keys("disable", "--consumer", "sales")
    assert unasked.code == 2
    assert "--yes" in unasked.said
    assert await field(client, key.id, "status") == "active"
    assert keys("disable", "--consumer", "sales", "--yes").code == 0
    assert await field(client, key.id, "status") == "disabled"
    for act in (("revoke", "--yes"), ("export",)):
        typo = keys(*act, "--consumer", "sale")
        assert (typo.code, typo.out) == (1, "")
        assert "Did you mean 'sales'?" in typo.said


async def test_enabling_a_department_leaves_its_revoked_keys_closed(
    keys: Commands, client: Redis
) -> None:
    suspended, closed = keys.create(), keys.create()
    keys("disable", suspended.id)
    keys("revoke", closed.id)
    ended = keys("enable", "--consumer", "sales", "--yes")
    assert ended.code == 0
    assert await field(client, suspended.id, "status") == "active"
    assert await field(client, closed.id, "status") == "revoked"


@pytest.mark.parametrize(
    ("answer", "status", "code"), [(b"n\n", "active", 1), (b"y\n", "revoked", 0)]
)
async def test_on_a_terminal_the_operator_is_asked(
    keys: Commands, client: Redis, answer: bytes, status: str, code: int
) -> None:
    key = keys.create()
    assert on_terminal(keys, answer, "revoke", "--consumer", "sales") == code
    assert await field(client, key.id, "status") == status


def on_terminal(keys: Commands, answer: bytes, *arguments: str) -> int:
    """How the command ended, with a terminal as its stdin and `answer` typed into it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "keys", *arguments],
        cwd=keys.folder,
        env=keys.environment(),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.write(ours, answer)
        code = process.wait(60)
    os.close(ours)
    os.close(theirs)
    return code


async def test_update_changes_what_is_given_and_nothing_else(keys: Commands, client: Redis) -> None:
    key = keys.create("--label", "old", "--expires", "30d")
    before = await client.hgetall(f"gw:key:{{{key.id}}}")
    ended = keys("update", key.id, "--scope", "agents/faq:*", "--expires", "never", "--json")
    assert ended.json["scopes"] == ["agents/faq:*"]
    assert ended.json["expires_at"] is None
    after = await client.hgetall(f"gw:key:{{{key.id}}}")
    assert after == {**before, "scopes": "agents/faq:*", "expires_at": ""}
    assert keys("update", key.id, "--label", "", "--users", "*").code == 0
    assert await field(client, key.id, "label") == ""
    assert await field(client, key.id, "users") == "*"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--scope", "nonsense"), 2),
        (("--expires", "2020-01-01"), 2),
        (("--limits", "rate=fast"), 2),
        (("--label", "x"), 1),
    ],
)
async def test_an_update_that_cannot_be_changes_nothing(
    keys: Commands, client: Redis, arguments: tuple[str, ...], code: int
) -> None:
    ended = keys("update", MISSING, *arguments)
    assert ended.code == code
    assert ended.is_one_sentence()
    assert await client.keys("gw:key:*") == []


async def test_delete_asks_and_then_leaves_nothing(keys: Commands, client: Redis) -> None:
    key = keys.create()
    await client.set(f"gw:quota:{{{key.id}}}:day", 1)
    assert keys("delete", key.id).code == 2
    assert await field(client, key.id, "status") == "active"
    assert keys("delete", key.id, "--yes").code == 0
    assert await client.keys("gw:key:*") == []
    assert keys("delete", key.id, "--yes").code == 1


def test_a_redis_that_is_away_is_one_sentence(store: StoreSettings, tmp_path: Path) -> None:
    away = StoreSettings(url=f"unix://{tmp_path}/none", state_dir=tmp_path)
    made = ("create", "--consumer", "sales", "--scope", "agents/*")
    deleted = ("delete", MISSING, "--yes")
    for arguments in (("list",), ("show", MISSING), ("revoke", MISSING), made, deleted):
        ended = Commands(away, tmp_path)(*arguments)
        assert ended.code == 1
        assert ended.is_one_sentence()
        assert "Redis could not answer" in ended.said
        assert "Check --redis or GATEWAY_REDIS_URL" in ended.said
