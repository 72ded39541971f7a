"""`keys export` and `import`: keys move between gateways, with their hashes and without any key."""

import asyncio
import json
import os
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.keys.record import field_names
from gateway.domain.settings import StoreSettings
from tests.cli.commands import COMMAND, Commands, Ended
from tests.cli.serving import Served, serving
from tests.flows.world import echo, listening

OTHER_PEPPER = b64encode(b"q" * 32).decode()


@pytest.fixture
def here(store: StoreSettings, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)


@pytest.fixture
def there(here: Commands) -> Commands:
    """Another gateway's: a database and a pepper of its own."""
    return replace(
        here, store=replace(here.store, url=f"{here.store.url}?db=1"), pepper=OTHER_PEPPER
    )


@pytest.fixture
async def target(there: Commands) -> AsyncIterator[Redis]:
    async with Redis.from_url(there.store.url or "", decode_responses=True) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def name(key: Key) -> str:
    return f"gw:key:{{{key.id}}}"


def exported(here: Commands, file: Path, *more: str) -> list[dict[str, Any]]:
    """What is in the file, from its first line to its last."""
    file.unlink(missing_ok=True)
    ended = here("export", "--out", str(file), *more)
    assert ended.code == 0, ended.said
    return [json.loads(line) for line in file.read_text().splitlines()]


def outcomes(ended: Ended) -> dict[str, str]:
    return {row["id"]: row["outcome"] for row in ended.json["results"]}


async def status(gateway: Served, key: str) -> str:
    answer = await gateway.get("/agents/a/x", key)
    return "ok" if answer.status == 200 else answer.code


async def test_a_moved_key_works_with_its_old_secret_and_its_counters_start_anew(
    here: Commands, there: Commands, file: Path
) -> None:
    used = here.create("--limits", "quota=1/d")
    revoked, old = here.create(), here.create()
    assert here("revoke", revoked.id).code == 0
    new = here("rotate", old.id, "--grace", "1h", "--quiet").out.strip()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with listening(app) as port:
        (here.folder / "policies").mkdir()
        agents = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{port}'}}\n"
        (here.folder / "policies" / "a.yaml").write_text(agents)
        async with serving(folder=here.folder, settings=here.environment()) as gateway:
            assert [await status(gateway, used.text) for _ in range(2)] == ["ok", "quota_exhausted"]
        await asyncio.to_thread(exported, here, file)
        done = await asyncio.to_thread(there, "import", str(file), "--json")
        assert set(outcomes(done).values()) == {"imported"}, done.said
        assert "Tags of 3 of these keys are of a pepper that is not known here" in done.said
        async with serving(folder=there.folder, settings=there.environment()) as gateway:
            assert [await status(gateway, used.text) for _ in range(2)] == ["ok", "quota_exhausted"]
            assert await status(gateway, revoked.text) == "key_revoked"
            assert [await status(gateway, key) for key in (old.text, new)] == ["ok", "ok"]
            wrong = old.text.replace(old.text[30:34], "0000")
            assert await status(gateway, wrong) == "key_invalid"


async def test_every_field_arrives_and_the_tag_of_an_unknown_pepper_stays_as_it_is(
    here: Commands, there: Commands, file: Path, client: Redis, target: Redis
) -> None:
    key = here.create(
        "--limits", "rate=5/s", "--users", "u1,u2", "--label", "ä b", "--expires", "9d"
    )
    here("rotate", key.id, "--grace", "1h", "--quiet")
    await client.hset(name(key), mapping={"plan": "standard", "revoked_at": "1"})
    await client.expireat(name(key), 4_000_000_000)
    first, record, last = exported(here, file)
    assert (first, last) == ({"gateway_keys": 1}, {"records": 1})
    assert set(record) == {"id", "removed_at", *field_names()}
    assert key.text[22:54] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert outcomes(there("import", str(file), "--json")) == {key.id: "imported"}
    held = await target.hgetall(name(key))
    assert held == await client.hgetall(name(key))
    assert len(held) == len(field_names())
    assert await target.expiretime(name(key)) == 4_000_000_000


async def test_an_import_done_twice_changes_nothing_the_second_time(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    key = here.create()
    exported(here, file)
    there("import", str(file))
    before = await target.hgetall(name(key))
    for more in ((), ("--overwrite",), ("--dry-run",)):
        again = there("import", str(file), "--json", *more)
        assert (again.code, outcomes(again)) == (0, {key.id: "unchanged"})
    assert await target.hgetall(name(key)) == before


async def test_a_tag_that_was_written_here_meanwhile_stays(
    here: Commands, there: Commands, file: Path, client: Redis, target: Redis
) -> None:
    """Neither a reason to refuse the same record nor overwritten with the hash it is of."""
    key = here.create()
    own = await client.hget(name(key), "tag")
    await client.hset(name(key), "tag", "")
    exported(here, file)
    there("import", str(file))
    await target.hset(name(key), "tag", own)
    assert outcomes(there("import", str(file), "--json")) == {key.id: "unchanged"}
    await target.hset(name(key), "label", "other")
    replaced = there("import", str(file), "--json", "--overwrite")
    assert outcomes(replaced) == {key.id: "replaced"}
    assert await target.hmget(name(key), "tag", "label") == [own, ""]


async def test_a_key_that_is_here_is_refused_and_replaced_only_on_request(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    kept, other = here.create(), here.create()
    exported(here, file)
    there("import", str(file))
    changed = {"scopes": "agents/other", "previous_hash": "x", "label": "mine"}
    await target.hset(name(kept), mapping=changed)
    await target.expire(name(kept), 1000)
    await target.delete(name(other))
    refused = there("import", str(file), "--json")
    assert refused.code == 1
    assert outcomes(refused) == {kept.id: "refused", other.id: "imported"}
    assert "--overwrite" in refused.said
    assert await target.hget(name(kept), "scopes") == "agents/other"
    looked = there("import", str(file), "--json", "--overwrite", "--dry-run")
    assert outcomes(looked) == {kept.id: "would replace", other.id: "unchanged"}
    assert await target.hget(name(kept), "scopes") == "agents/other"
    assert there("import", str(file), "--overwrite").code == 0
    assert await target.hmget(name(kept), "scopes", "previous_hash", "label") == [
        "agents/*",
        None,
        "",
    ]
    assert await target.ttl(name(kept)) == -1


async def test_what_was_revoked_here_is_not_brought_back_by_an_older_export(
    here: Commands, file: Path, client: Redis
) -> None:
    key = here.create()
    exported(here, file)
    here("revoke", key.id)
    ended = here("import", str(file), "--overwrite", "--json")
    assert (ended.code, outcomes(ended)) == (1, {key.id: "refused"})
    assert "stays so" in ended.said
    assert await client.hget(name(key), "status") == "revoked"


async def test_dry_run_writes_nothing(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    key = here.create()
    exported(here, file)
    assert outcomes(there("import", str(file), "--dry-run", "--json")) == {key.id: "would import"}
    assert await target.keys("gw:key:*") == []


async def test_a_record_whose_time_to_live_has_run_out_meanwhile_is_left_out(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    key = here.create()
    lines = exported(here, file)
    write(file, [lines[0], {**lines[1], "removed_at": 1_700_000_000}, lines[2]])
    ended = there("import", str(file), "--json")
    assert (ended.code, outcomes(ended)) == (0, {key.id: "skipped"})
    assert await target.keys("gw:key:*") == []


def test_export_takes_ids_or_the_filters_of_list(here: Commands, file: Path) -> None:
    first, second = sorted((here.create(), here.create()), key=lambda key: key.id)
    here("revoke", second.id)
    assert [one["id"] for one in exported(here, file)[1:-1]] == [first.id, second.id]
    for words, wanted in (
        (("--status", "revoked"), [second.id]),
        (("--consumer", "sales", "--status", "expired"), []),
        (("--scope", "agents/x"), [first.id, second.id]),
        ((first.id, first.id), [first.id]),
    ):
        assert [one["id"] for one in exported(here, file, *words)[1:-1]] == wanted
    assert here("export", first.id, "--status", "active").code == 2
    missing = here("export", "000000000000", "--out", str(file.with_name("none")))
    assert missing.code == 1
    assert not file.with_name("none").exists()


async def test_what_import_would_refuse_is_left_out_and_named(
    here: Commands, file: Path, client: Redis
) -> None:
    good, bad = here.create(), here.create()
    await client.hset("gw:key:{000000000000}", "status", "revoked")
    await client.hset(name(bad), "limits", "rate=fast")
    ended = here("export", "--out", str(file), "--json")
    assert ended.code == 1
    assert ended.json["exported"] == 1
    assert {row["id"] for row in ended.json["left_out"]} == {bad.id, "000000000000"}
    assert [json.loads(line).get("id") for line in file.read_text().splitlines()][1] == good.id


def test_a_file_that_exists_is_not_overwritten(here: Commands, file: Path) -> None:
    file.write_text("mine")
    ended = here("export", "--out", str(file))
    assert ended.code == 1
    assert ended.is_one_sentence()
    assert file.read_text() == "mine"


def test_export_goes_through_a_pipe_into_import(here: Commands, there: Commands) -> None:
    key = here.create()
    out = here("export").out
    taken = subprocess.run(
        [*COMMAND, "keys", "import", "--json"],
        cwd=there.folder,
        env=there.environment(),
        input=out,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcomes(Ended(taken.returncode, taken.stdout, taken.stderr)) == {key.id: "imported"}
    assert there("show", key.id).code == 0
    nothing = there("import")
    assert nothing.code == 1
    assert "is empty" in nothing.said


def write(file: Path, lines: list[Any]) -> None:
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


BOMB = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
BAD_FIELDS = [
    *({"hash": value} for value in ("", "x", BOMB, BOMB.replace("argon2id", "argon2i"))),
    *({"previous_hash": BOMB}, {"previous_expires_at": "1"}, {"previous_tag": "x"}),
    *({"tag": "x"}, {"tag": None}, {"status": "two words"}, {"env": "prod"}, {"last4": "…"}),
    *({"scopes": "nonsense"}, {"scopes": "gateway/*"}, {"limits": "rate=fast"}, {"plan": "a b"}),
    *({"users": "a/b"}, {"consumer": ""}, {"consumer": "a\nb"}, {"label": "\ud800"}),
    *({"expires_at": "soon"}, {"created_at": "-1"}, {"created_by": "\x1b"}, {"expires_at": 1}),
    *({"removed_at": "1"}, {"removed_at": True}, {"removed_at": -1}, {"more": ""}),
    *({"id": "short"}, {"id": "00000000000\n"}, {"id": 1}, {"gateway": {}}),
]


async def test_every_bad_record_is_named_and_nothing_is_written(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    here.create()
    head, record, _ = exported(here, file)
    good = {**record, "id": "000000000000"}
    spoiled = [
        {**record, "id": f"{number:012}", **change} for number, change in enumerate(BAD_FIELDS, 3)
    ]
    short = {name: value for name, value in record.items() if name != "label"}
    write(file, [head, good, *spoiled, short, {"records": len(spoiled) + 2}])
    ended = there("import", str(file), "--json")
    assert ended.code == 1
    assert "Nothing was imported" in ended.said
    notes = [row["note"].split(": ")[0] for row in ended.json["results"]]
    assert notes == [f"Line {number}" for number in range(3, len(spoiled) + 4)]
    assert record["hash"].split("$")[-1] not in ended.out + ended.said
    assert await target.keys("gw:key:*") == []


async def test_a_whole_key_in_a_field_is_refused_and_not_repeated(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    key = here.create()
    head, record, _ = exported(here, file)
    fields = ("consumer", "label", "scopes", "users", "created_by", "plan", "limits", "id", "env")
    write(
        file, [head, *({**record, field: key.text} for field in fields), {"records": len(fields)}]
    )
    ended = there("import", str(file), "--json")
    assert ended.code == 1
    assert len(ended.json["results"]) == len(fields)
    assert key.text[22:54] not in ended.out + ended.said
    assert await target.keys("gw:key:*") == []


async def test_a_file_that_is_none_or_not_whole_is_one_sentence(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    """All that can be wrong with one: `tests/protocol/test_key_file.py`."""
    here.create()
    head, record, last = exported(here, file)
    for content in (b"\xff\xfe\n", file.read_bytes()[:-2]):
        file.write_bytes(content)
        ended = there("import", str(file))
        assert ended.code == 1, content[:80]
        assert ended.is_one_sentence(), ended.said
    assert there("import", str(file.with_name("none"))).is_one_sentence()
    write(file, [head, record, record, {"records": 2}])
    assert "twice" in there("import", str(file)).said
    assert last == {"records": 1}
    assert await target.keys("gw:key:*") == []


async def test_a_plan_that_is_not_here_is_told(
    here: Commands, there: Commands, file: Path, client: Redis
) -> None:
    key = here.create()
    await client.hset(name(key), "plan", "gold")
    exported(here, file)
    there.write_plans("  standard: {rate: 10/s}\n")
    assert "No policy here has the plan 'gold'" in there("import", str(file)).said


async def test_a_name_that_holds_no_record_is_left_alone(
    here: Commands, there: Commands, file: Path, target: Redis
) -> None:
    key = here.create()
    exported(here, file)
    await target.set(name(key), "x")
    ended = there("import", str(file), "--overwrite", "--json")
    assert (ended.code, outcomes(ended)) == (1, {key.id: "refused"})
    assert await target.get(name(key)) == "x"


async def test_a_full_redis_refuses_and_keeps_what_it_had(
    here: Commands, there: Commands, file: Path, client: Redis, target: Redis
) -> None:
    key = here.create()
    exported(here, file)
    there("import", str(file))
    await target.hset(name(key), "label", "mine")
    before = await target.hgetall(name(key))
    await client.config_set("maxmemory", 1)
    try:
        ended = there("import", str(file), "--overwrite", "--json")
    finally:
        await client.config_set("maxmemory", 0)
    assert (ended.code, outcomes(ended)) == (1, {key.id: "refused"})
    assert "full" in ended.said
    assert await target.hgetall(name(key)) == before


def test_a_file_on_a_full_disk_is_one_sentence(here: Commands) -> None:
    here.create()
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        ended = here.gateway("keys", "export", stdout=full)
    assert ended.code == 1 and ended.is_one_sentence()
