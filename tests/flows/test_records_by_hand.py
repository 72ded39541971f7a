"""Whatever stands in a key's record: it is judged, or refused; never an error, never a way in."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.cli import logs
from gateway.crypto.argon2 import hash_key
from gateway.crypto.draw import draw
from gateway.domain.errors import Code
from gateway.domain.keys.key import Key, compose
from gateway.domain.keys.limits import Limits, Rate
from gateway.domain.policies.plans import Plan
from gateway.domain.settings import AccessLogSettings, StoreSettings
from gateway.services.keys.issue import Issuer
from gateway.store.keys import KeyStore
from tests.awake import awake
from tests.flows.audit import come, records
from tests.flows.refusals import check
from tests.flows.world import World, new_world, peppers

ONE_AT_A_TIME = settings(max_examples=300)
BYTES = st.binary(max_size=40)
NEAR = {
    "status": [b"active", b"ACTIVE", b"active ", b"revoked", b"disabled", b""],
    "scopes": [b"agents/*", b"*", b"agents/echo", b"agents/ech", b"gateway/*", b"\xff agents/*"],
    "plan": [b"", b"wide", b"wide ", b"gone", b"\xff"],
    "limits": [
        b"",
        b"rate=9/s",
        b"rate=9/s rate=9/s",
        b"burst=1e3",
        b"burst=9",
        b"quota=1/d",
        b"rate=\xd9\xa3/s",
    ],
    "expires_at": [b"", b"0", b"4102444800", b"4102444800.5", b"1e12", b"-1", b" 4102444800"],
    "users": [b"", b"*", b"\x00"],
    "consumer": [b"", b"a\r\nX: y", b"\xff\xfe", b"\x00", "é".encode()],
    "hash": [b"", b"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA"],
    "previous_hash": [b"", b"junk"],
    "previous_expires_at": [b"", b"x", b"9"],
    "tag": [b"", b"x", b"0" * 8 + b":" + b"0" * 16 + b":" + b"0" * 64],
}
CHANGES = st.sets(st.sampled_from(sorted(NEAR)), max_size=4).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.one_of(st.sampled_from(NEAR[name]), BYTES) for name in sorted(names)}
    )
)
LIMITS = re.compile(rb" *((rate=[1-9]\d{0,8}/[smhd]|burst=[1-9]\d{0,8}|quota=[1-9]\d{0,8}/d) *)?")


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    """Logs as JSON, as in production: a log line that cannot be written would be an error too."""
    logs.configure("json", "debug")
    try:
        async with new_world(store, client) as made:
            wide = Plan("wide", Limits(Rate(10**6, 1), 10**6))
            made.serve(made.agent(), plans={"wide": wide})
            yield made
    finally:
        structlog.reset_defaults()


def may_pass(changes: dict[str, bytes]) -> bool:
    """The contract's rules, read once more and by other means."""
    scopes = changes.get("scopes", b"agents/*").decode("utf-8", "surrogateescape").split(" ")
    grants = {"*", "agents/*", "agents/echo", "agents/*:*", "agents/echo:invoke"}
    expires = changes.get("expires_at", b"")
    plan, limits = changes.get("plan", b""), changes.get("limits", b"")
    alive = expires == b"" or (expires.isdigit() and len(expires) <= 12 and int(expires) > 2e9)
    return (
        changes.get("status", b"active") == b"active"
        and "hash" not in changes
        and bool(grants & set(scopes))
        and plan in (b"", b"wide")
        and LIMITS.fullmatch(limits) is not None
        and (plan == b"wide" or b"burst" not in limits)
        and alive
    )


@dataclass
class Record:
    """One key, and its record as it was made; each example begins with that."""

    world: World
    key: Key
    made: dict[bytes, bytes]
    client: Redis

    async def becomes(self, changes: Mapping[str, bytes], *, without: bytes = b"") -> None:
        fields = {**self.made, **{name.encode(): value for name, value in changes.items()}}
        fields.pop(without, None)
        async with self.client.pipeline() as pipe:
            pipe.delete(self.world.record(self.key))
            pipe.hset(self.world.record(self.key), mapping=fields)
            await pipe.execute()


@pytest.fixture
async def record(world: World) -> AsyncIterator[Record]:
    key = await world.issue()
    client: Redis = Redis.from_url(world.store.url or "")
    yield Record(world, key, await client.hgetall(world.record(key)), client)
    await client.aclose()


@ONE_AT_A_TIME
@given(CHANGES)
@example({"scopes": b"\xff agents/*", "consumer": b"\xff"})
@example({"plan": b"\xff"})
@example({"limits": b"\xff"})
@example({"limits": b"\t"})
@example({"scopes": b"agents/*\t"})
@example({"limits": b"burst=9"})
@example({"limits": b"burst=9", "plan": b"wide"})
async def test_a_record_lets_in_exactly_whom_it_describes(
    record: Record, changes: dict[str, bytes]
) -> None:
    await record.becomes(changes)
    for _ in range(2):
        answer = await record.world.call(record.key)
        assert answer.status in (200, 401, 403, 429), answer.body
        assert (answer.status in (200, 429)) == may_pass(changes), answer.body


@pytest.mark.parametrize("tagged", [True, False])
@ONE_AT_A_TIME
@given(st.dictionaries(st.sampled_from(sorted(set(NEAR) - {"tag"})), BYTES, max_size=6))
async def test_a_wrong_secret_is_key_invalid_whatever_stands_in_the_record(
    record: Record, tagged: bool, changes: dict[str, bytes]
) -> None:
    if tagged:
        await record.becomes({"status": b"revoked", **changes})
    else:
        await record.becomes({"status": b"revoked", **changes, "hash": b"junk"}, without=b"tag")
    wrong = compose("live", record.key.id, draw(32)).text
    check(await record.world.call(wrong), Code.KEY_INVALID)


@pytest.mark.parametrize("kind", ["string", "list", "set", "zset", "stream"])
async def test_a_record_of_another_type_is_no_record(
    world: World, client: Redis, kind: str
) -> None:
    key = await world.issue()
    assert (await world.call(key)).status == 200
    name = world.record(key)
    await client.delete(name)
    match kind:
        case "string":
            await client.set(name, "x")
        case "list":
            await client.rpush(name, "hash", "x")
        case "set":
            await client.sadd(name, "hash")
        case "zset":
            await client.zadd(name, {"hash": 1})
        case _:
            await client.xadd(name, {"hash": "x"})
    for _ in range(2):
        check(await world.call(key), Code.KEY_INVALID)


@pytest.mark.parametrize(
    ("limits", "counter", "put"),
    [
        ("quota=5/d", "quota:{{{}}}:day", ("SET", "-1")),
        ("quota=5/d", "quota:{{{}}}:day", ("HSET", "used", "1")),
        ("rate=5/s", "rate:{{{}}}:rate", ("SET", "-1")),
        ("rate=5/s", "rate:{{{}}}:rate", ("RPUSH", "1")),
        ("concurrency=5", "lease:{{{}}}", ("SET", "-1")),
    ],
)
async def test_a_counter_that_is_none_refuses_its_key_and_no_retry_helps_until_it_is_gone(
    world: World, client: Redis, limits: str, counter: str, put: tuple[str, ...]
) -> None:
    key, other = await world.issue(limits=limits), await world.issue(limits=limits)
    name = world.store.prefix + counter.format(key.id)
    await client.execute_command(put[0], name, *put[1:])
    for _ in range(2):
        check(await world.call(key), Code.KEY_MISCONFIGURED)
    assert (await world.call(other)).status == 200
    await client.delete(name)
    assert (await world.call(key)).status == 200


async def test_an_old_secret_in_its_grace_does_not_outlive_the_hash(world: World) -> None:
    """Whoever takes the hash away means the key: no secret opens a record without one."""
    key = await world.issue()
    issuer = Issuer(KeyStore(world.client, world.store.prefix), peppers(world), draw)
    await issuer.rotate(key.id, 3600)
    assert (await world.call(key)).status == 200
    for unusable in ("", "junk"):
        await world.client.hset(world.record(key), "hash", unusable)
        check(await world.call(key), Code.KEY_INVALID)


@pytest.mark.parametrize(
    "phc",
    [
        "$argon2id$v=19$m=4194304,t=2,p=1${}",
        "$argon2id$v=19$m=65537,t=2,p=1${}",
        "$argon2id$v=19$m=19456,t=5,p=1${}",
        "$argon2id$v=19$m=19456,t=1000000,p=1${}",
        "$argon2id$v=19$m=19456,t=2,p=64${}",
        "$argon2id$v=19$m=99999999999999999999,t=2,p=1${}",
        "$argon2i$v=19$m=19456,t=2,p=1${}",
        "$argon2d$v=19$m=19456,t=2,p=1${}",
        "$argon2id$v=16$m=19456,t=2,p=1${}",
        "$argon2id$m=19456,t=2,p=1${}",
    ],
)
async def test_a_poisoned_hash_is_refused_unread(
    store: StoreSettings, client: Redis, phc: str
) -> None:
    """Four gibibytes and minutes of work are what these claim; the answer comes at once."""
    async with new_world(store, client, peppers=()) as world:
        key = await world.issue()
        salt_and_hash = hash_key(key.text).rpartition("p=1$")[2]
        await client.hset(world.record(key), "hash", phc.format(salt_and_hash))
        with awake() as passed:
            check(await world.call(key), Code.KEY_INVALID)
            assert passed() < 1


async def test_the_strongest_hash_that_is_allowed_is_computed(
    store: StoreSettings, client: Redis
) -> None:
    async with new_world(store, client, peppers=()) as world:
        key = await world.issue()
        phc = PasswordHasher(4, 65536, 4).hash(key.text)
        await client.hset(world.record(key), "hash", phc)
        assert (await world.call(key)).status == 200


async def test_a_key_that_was_pasted_into_a_record_is_told_to_no_agent_log_or_audit(
    store: StoreSettings, client: Redis, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Into the fields that are passed on; whoever reads Redis sees it there all the same."""
    access = tmp_path / "access.log"
    settings = AccessLogSettings(access, as_json=True)
    async with new_world(store, client, access_log=settings) as world:
        key = await world.issue("agents/echo")
        pasted = {"consumer": f"sales {key.text}", "scopes": f"agents/echo {key.text}"}
        await client.hset(world.record(key), mapping=pasted)
        received = (await world.call(key)).received
        assert received["x-gateway-consumer"][0].startswith(f"sales agk_live_{key.id}_")
        check(await world.call(key, "/agents/other/x"), Code.NOT_FOUND)
        await come(world, "request.denied", 1)
        told = [json.dumps(received), json.dumps(await records(world))]
    told += [access.read_text(), *capfd.readouterr()]
    assert "scope_ignored" in told[-2] + told[-1]
    assert not [text for text in told if key.text[22:] in text]


async def test_an_agent_is_told_of_no_scope_that_grants_nothing(
    world: World, client: Redis
) -> None:
    key = await world.issue()
    await client.hset(world.record(key), "scopes", "admin  agents/echo agents/* agents/ech* é")
    assert (await world.call(key)).received["x-gateway-scopes"] == ["agents/echo agents/*"]
