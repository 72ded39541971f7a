"""The users of `deploy/redis/users.acl` may do what they have to do, and nothing else."""

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.domain.keys.key import Key
from tests.cli.serving import PATIENCE, Served, serving
from tests.flows.guarded import DEPLOY, USERS, Guarded, guarded, set_password
from tests.flows.ticking import ticking
from tests.flows.world import echo, listening

RECORD = "gw:key:{AAAAAAAAAAAA}"
__all__ = ["guarded"]


@asynccontextmanager
async def served(guarded: Guarded, **more: str) -> AsyncIterator[Served]:
    """A gateway that knows the password of its own user only."""
    app = web.Application()
    app.router.add_get("/ticks", ticking)
    app.router.add_route("*", "/{path:.*}", echo)
    async with listening(app) as port:
        (guarded.folder / "policies").mkdir()
        write_policies(guarded, port, "plans:\n  small: {rate: 100/s, quota: 1000/d}\n")
        settings = {**guarded.commands("gateway").environment(), **more}
        async with serving(folder=guarded.folder, settings=settings) as made:
            yield made


def write_policies(guarded: Guarded, port: int, plans: str) -> None:
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{port}'}}\n{plans}"
    new = guarded.folder / "new"
    new.write_text(text)
    new.rename(guarded.folder / "policies" / "a.yaml")


async def status(served: Served, key: Key) -> str:
    answer = await served.get("/agents/a/x", key.text)
    return "ok" if answer.status == 200 else answer.code


async def create(guarded: Guarded, *more: str) -> Key:
    return await asyncio.to_thread(guarded.commands("operator").create, *more)


async def test_a_key_lives_its_whole_life_under_the_rights_of_the_shipped_file(
    guarded: Guarded,
) -> None:
    async with served(guarded) as gateway:
        limits = ("--plan", "small", "--limits", "concurrency=5", "--idempotency-key", "once")
        key = await create(guarded, *limits)
        record = f"gw:key:{{{key.id}}}"
        for _ in range(3):
            assert await status(gateway, key) == "ok"
        await changed_by_hand(guarded, gateway, key, record)
        await changed_by_commands(guarded, gateway, key)
        await moved(guarded, gateway, key)
        await looked_at(guarded, key)
        assert await guarded.by_hand("operator", "DEL", record) == "1"
        assert await status(gateway, key) == "key_invalid"
        gateway.stop()
        assert await gateway.ends() == 0
    assert [name async for name in guarded.store.client.scan_iter("gw:worker:*")] == []
    assert await guarded.refusals() == []


async def changed_by_hand(guarded: Guarded, gateway: Served, key: Key, record: str) -> None:
    for words, code in (
        (("status", "revoked"), "key_revoked"),
        (("status", "disabled"), "key_disabled"),
        (("status", "active"), "ok"),
        (("scopes", "agents/b"), "scope_denied"),
        (("scopes", "agents/*"), "ok"),
        (("expires_at", "1"), "key_expired"),
        (("expires_at", ""), "ok"),
    ):
        assert await guarded.by_hand("operator", "HSET", record, *words) == "0"
        assert await status(gateway, key) == code
    assert await guarded.by_hand("operator", "EXPIRE", record, "3600") == "1"
    assert await status(gateway, key) == "ok"
    assert await guarded.by_hand("operator", "PERSIST", record) == "1"
    assert await guarded.by_hand("operator", "SET", "gw:log-level", "debug", "EX", "9") == "OK"
    assert (await gateway.event("log_level_changed"))["now"] == "debug"


async def changed_by_commands(guarded: Guarded, gateway: Served, key: Key) -> None:
    for words, code in (
        (("disable", key.id), "key_disabled"),
        (("enable", key.id), "ok"),
        (("update", key.id, "--scope", "agents/b"), "scope_denied"),
        (("update", key.id, "--scope", "agents/*"), "ok"),
        (("rotate", key.id, "--grace", "1h"), "ok"),
        (("revoke", "--consumer", "sales", "--yes"), "key_revoked"),
    ):
        ended = await guarded.run("operator", "keys", *words)
        assert ended.code == 0, ended.said
        assert await status(gateway, key) == code
    other = await create(guarded)
    assert await status(gateway, other) == "ok"
    ended = await guarded.run("operator", "keys", "delete", other.id, "--yes")
    assert ended.code == 0, ended.said
    assert await status(gateway, other) == "key_invalid"


async def moved(guarded: Guarded, gateway: Served, key: Key) -> None:
    """Out and in by an operator: made anew, left as it is, and replaced."""
    file = str(guarded.folder / "keys.jsonl")
    ended = await guarded.run("operator", "keys", "export", "--out", file)
    assert ended.code == 0, ended.said
    assert await guarded.by_hand("operator", "DEL", f"gw:key:{{{key.id}}}") == "1"
    for outcome in ("imported", "unchanged", "replaced"):
        ended = await guarded.run("operator", "keys", "import", file, "--overwrite", "--json")
        assert [row["outcome"] for row in ended.json["results"]] == [outcome], ended.said
        assert await status(gateway, key) == "key_revoked"
        label = ("update", key.id, "--label", "other")
        if outcome == "unchanged":
            assert (await guarded.run("operator", "keys", *label)).code == 0


async def looked_at(guarded: Guarded, key: Key) -> None:
    url = ("--method", "GET", "--url", "/agents/a/x")
    explained = await guarded.run("operator", "policy", "explain", "--key", key.id, *url)
    assert "key_revoked" in explained.out + explained.said
    for user in ("operator", "viewer"):
        doctor = await guarded.run(user, "doctor", "--json")
        assert len(doctor.json["workers"]) == 1, doctor.said
        assert [one["id"] for one in (await listed(guarded, user))["keys"]] == [key.id]
        shown = await guarded.run(user, "keys", "show", key.id, "--json")
        assert shown.json["state"] == "revoked"
    for verb in ("tail", "export"):
        told = await guarded.run("viewer", "audit", verb)
        assert "key.revoke" in told.out, told.said


async def listed(guarded: Guarded, user: str) -> Any:
    return (await guarded.run(user, "keys", "list", "--json")).json


async def test_an_explanation_by_a_login_without_the_vault_says_what_it_does_not_know(
    guarded: Guarded,
) -> None:
    (guarded.folder / "policies").mkdir()
    (guarded.folder / "policies" / "a.yaml").write_text(
        "version: 1\nservices:\n  crm: {upstream: 'http://127.0.0.1:9', "
        "inject: {credential: '${credentials.crm}'}}\n"
    )
    made = await guarded.run(
        "operator", "keys", "create", "--consumer", "x", "--scope", "services/*", "--json"
    )
    url = ("--key", made.json["id"], "--url", "/services/crm/x")
    told = await guarded.run("operator", "policy", "explain", *url)
    assert told.code == 0 and "Forwarded to http://127.0.0.1:9/x" in told.out
    assert "whether they can be used is not known here: Redis refused the command" in told.out


async def test_what_the_gateway_does_beside_the_requests_is_within_its_rights(
    guarded: Guarded,
) -> None:
    """Tags, limits explained, scripts loaded anew, sweeps of open streams, reloads."""
    async with served(guarded) as gateway:
        key = await create(guarded, "--plan", "small", "--limits", "concurrency=5")
        record = f"gw:key:{{{key.id}}}"
        async with guarded.client("operator") as operator:
            await operator.hset(record, "tag", "")
            assert await status(gateway, key) == "ok"
            async with asyncio.timeout(PATIENCE):
                while not await operator.hget(record, "tag"):
                    await asyncio.sleep(0.02)
            await guarded.store.client.script_flush()
            assert await status(gateway, key) == "ok"
            url = ("--method", "GET", "--url", "/agents/a/x")
            explained = await guarded.run("operator", "policy", "explain", "--key", key.id, *url)
            assert explained.code == 0, explained.said
            stream = await gateway.connect()
            stream.send("/agents/a/ticks", key.text)
            await stream.reader.readuntil(b"data: tick")
            await operator.hset(record, "status", "revoked")
            async with asyncio.timeout(PATIENCE):
                await stream.reader.readuntil(b"event: error")
            await operator.hset(record, "status", "active")
        write_policies(guarded, 9, "")
        orphaned = await gateway.event("keys_orphaned")
        assert "small" in orphaned["reason"]
    assert await guarded.refusals() == []


async def test_what_operators_do_over_http_is_within_the_rights_of_a_login_of_its_own(
    guarded: Guarded,
) -> None:
    """The whole admin API and the console, with GATEWAY_ADMIN_REDIS_URL."""
    url = guarded.settings("control").url or ""
    async with served(guarded, GATEWAY_ADMIN_REDIS_URL=url) as gateway:
        admin = await create(guarded, "--scope", "gateway/admin")
        key = await create(guarded)
        assert await status(gateway, key) == "ok"
        async with asked(gateway, admin) as ask:
            await acted(ask, key)
            assert await status(gateway, key) == "key_invalid"
            await looked(ask, admin)
            assert await signed_in(gateway, admin) == 200
        assert await guarded.refusals() == []
        assert guarded.passwords["control"] not in "".join(map(str, gateway.events))


def admin_of(gateway: Served) -> str:
    return "http://{}:{}".format(*gateway.admin)


Ask = Callable[..., Awaitable[tuple[int, Any]]]


@asynccontextmanager
async def asked(gateway: Served, admin: Key) -> AsyncIterator[Ask]:
    headers = {"Authorization": f"Bearer {admin.text}"}
    async with aiohttp.ClientSession(admin_of(gateway), headers=headers) as session:

        async def ask(method: str, path: str, json: Any = None) -> tuple[int, Any]:
            async with session.request(method, f"/admin/v1{path}", json=json) as answer:
                return answer.status, await answer.json()

        yield ask


async def acted(ask: Ask, key: Key) -> None:
    tags = {"act": "disable", "ids": [key.id]}
    for method, path, body, expected in (
        ("POST", "/keys", {"consumer": "sales", "scopes": ["agents/*"]}, 201),
        ("PATCH", f"/keys/{key.id}", {"label": "x"}, 200),
        ("POST", "/keys/bulk", tags, 200),
        ("POST", f"/keys/{key.id}/enable", None, 200),
        ("POST", f"/keys/{key.id}/rotate", {"grace": "1h"}, 200),
        ("POST", f"/keys/{key.id}/contain", None, 200),
        ("DELETE", f"/keys/{key.id}", None, 200),
        ("PUT", "/credentials/crm_key", {"type": "api_key", "fields": {"value": "v"}}, 200),
        ("POST", "/credentials/crm_key/contain", {"fields": {"value": "w"}}, 200),
        ("DELETE", "/credentials/crm_key", None, 200),
        ("POST", "/users/ann/links", {"credentials": "github"}, 201),
        ("DELETE", "/users/ann/links", None, 200),
    ):
        status, told = await ask(method, path, body)
        assert status == expected, (method, path, told)


async def looked(ask: Ask, admin: Key) -> None:
    for path in ("/keys", f"/keys/{admin.id}", f"/keys/{admin.id}/reach", "/credentials", "/users"):
        status, told = await ask("GET", path)
        assert (status, told.get("problem", "")) == (200, ""), (path, told)
    for path in ("/audit", "/usage", "/usage/totals?by=consumer", "/workers", "/health", "/tools"):
        status, told = await ask("GET", path)
        assert (status, told.get("problem", "")) == (200, ""), (path, told)
    verified = await ask("GET", "/audit/verify")
    assert (verified[0], verified[1]["bad"]) == (200, None), verified
    records = (await ask("GET", "/audit?limit=500"))[1]["records"]
    acts = {one["event"] for one in records if one["actor"] == f"key:{admin.id}"}
    assert {"key.delete", "credential.rotate", "user.link"} <= acts


async def signed_in(gateway: Served, admin: Key) -> int:
    """What the console's first page answers to whoever has signed in."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        aiohttp.ClientSession(admin_of(gateway), cookie_jar=jar) as browser,
        browser.post("/console/login", data={"key": admin.text}) as answer,
    ):
        return answer.status


async def test_without_such_a_login_what_the_gateway_may_not_is_refused_and_not_done(
    guarded: Guarded,
) -> None:
    async with served(guarded) as gateway:
        admin = await create(guarded, "--scope", "gateway/admin")
        key = await create(guarded)
        async with asked(gateway, admin) as ask:
            contain = f"/keys/{key.id}/contain"
            for way in (("POST", contain), ("DELETE", f"/keys/{key.id}"), ("GET", "/audit")):
                refused, told = await ask(*way)
                assert (refused, told["code"]) == (503, "store_unavailable")
                assert re.search(REFUSED, told["detail"])
        assert await status(gateway, key) == "ok"


# As Valkey says it, and Redis 7.0 of a script.
REFUSED = r"permission|ACL|can't (run|access)"
DANGEROUS = [
    *("FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "KEYS *"),
    *("ACL LIST", "ACL SETUSER gateway allcommands", "MONITOR", "SHUTDOWN NOSAVE", "SAVE"),
    *("REPLICAOF NO ONE", "CLIENT LIST", "CLIENT KILL TYPE normal", "SCRIPT FLUSH"),
    *("DEBUG SLEEP 0", "RENAME gw:key:{A} gw:key:{B}", "PUBLISH a b", "SWAPDB 0 1"),
    *("GET another", "SET another 1", "HGETALL gw:cred:{crm}", "XTRIM gw:audit MAXLEN 0"),
]
FORBIDDEN = {
    "gateway": [
        *(f"DEL {RECORD}", f"HGETALL {RECORD}", "GET gw:idem:{a}"),
        *("ZREM gw:cred:{vault}:index a", "EXPIRE gw:cred:{vault}:item:a 1", "XRANGE gw:audit - +"),
    ],
    "control": [
        *("HSET gw:worker:a:1 pid 1", "XADD gw:audit * record x", "XDEL gw:audit 1-1"),
        *("GET gw:cred:{vault}:item:a", "SET gw:cred:{vault}:item:a x", "GET gw:log-level"),
    ],
    "operator": [
        *("HSET gw:worker:a:1 pid 1", "INCR gw:quota:{AAAAAAAAAAAA}:day"),
        *("GET gw:cred:{vault}:item:a", "SET gw:cred:{vault}:item:a x"),
    ],
    "vault": [
        f"HGET {RECORD} hash",
        f"HSET {RECORD} status active",
        f"DEL {RECORD}",
        "XRANGE gw:audit - +",
    ],
    "viewer": [
        *(f"HSET {RECORD} status active", f"DEL {RECORD}", f"EXPIRE {RECORD} 1"),
        *("SET gw:rate:{a} 1", "SCRIPT LOAD return", f"UNLINK {RECORD}"),
        "XADD gw:audit * record x",
    ],
}


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_nobody_may_do_what_is_not_theirs(guarded: Guarded, user: str) -> None:
    admin = guarded.store.client
    await admin.hset(RECORD, "status", "active")
    async with guarded.client(user) as client:
        for line in (*DANGEROUS, *FORBIDDEN[user]):
            with pytest.raises(ResponseError, match="permission"):
                await client.execute_command(*line.split(" "))
        # Nor by way of a script, in which the same rights hold.
        for call in ("'FLUSHALL'", "'KEYS', '*'", "'SET', 'another', '1'"):
            with pytest.raises(ResponseError, match=REFUSED):
                await client.eval(f"return redis.call({call})", 0)
    assert await admin.hgetall(RECORD) == {"status": "active"}
    assert await admin.dbsize() == 1


async def test_a_viewers_command_that_writes_fails_in_one_sentence(guarded: Guarded) -> None:
    key = await create(guarded)
    for words in (("revoke", key.id), ("rotate", key.id), ("delete", key.id, "--yes")):
        ended = await guarded.run("viewer", "keys", *words)
        assert ended.code == 1
        assert re.search(REFUSED, ended.said)
        assert "user_script" not in ended.said
        assert ended.said.count("\n") == 1
    shown = await guarded.run("viewer", "keys", "show", key.id, "--json")
    assert shown.json["state"] == "active"


async def test_nobody_comes_in_without_a_password(guarded: Guarded) -> None:
    url = f"unix://{guarded.store.socket}"
    async with Redis.from_url(url, protocol=2) as nobody:
        with pytest.raises(RedisError, match="Authentication"):
            await nobody.ping()
    for user in ("default", *USERS):
        for password in ("", user, guarded.passwords["viewer"][:-1]):
            login = {"username": user, "password": password, "protocol": 2}
            async with Redis.from_url(url, **login) as client:
                with pytest.raises(RedisError, match=r"WRONGPASS|[Aa]uthentication|password"):
                    await client.ping()


def test_a_new_password_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    shutil.copy(DEPLOY / "users.acl", users)
    assert "#" not in users.read_text(), "the file comes without passwords: nobody can log in"
    for _ in range(2):
        assert set_password(users, "gateway", secrets.token_hex(24)).returncode == 0
    assert users.read_text().count("#") == 1
    short = set_password(users, "gateway", "hunter2")
    assert short.returncode == 1
    assert "hunter2" not in short.stderr + users.read_text()
