"""The audit through the admin API: searched in bounded steps, followed, exported and verified."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.crypto.audit_key import AuditKeys, audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.events import Event
from gateway.domain.audit.record import AuditEvent
from gateway.domain.keys.key import Key
from gateway.services.audit import readers as audit_readers
from gateway.services.audit.writer import Audit
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines
from tests.admin.conftest import Ask
from tests.flows.world import MASTER, World

KEYS = audit_keys(MasterKeys((MASTER,)))
LONG = 15.0


async def write(
    world: World, *consumers: str, event: Event = "credential.use", keys: AuditKeys = KEYS
) -> None:
    """Records of these, in a chain of their own."""
    audit = Audit(AuditStore(world.client, world.store.prefix), keys)
    await asyncio.gather(*(audit.record(AuditEvent(event, consumer=one)) for one in consumers))
    await audit.close()


def url(world: World, path: str) -> str:
    return f"http://{world.gateways[0].admin.address}/admin/v1/audit{path}"


@asynccontextmanager
async def tail(
    world: World, key: Key, query: str = "", **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Open, with its first sign of life read."""
    sent = {"Authorization": f"Bearer {key.text}", **headers}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=LONG)
    async with world.session.get(url(world, f"/tail{query}"), headers=sent, timeout=timeout) as got:
        assert (got.status, got.content_type) == (200, "text/event-stream")
        assert await got.content.readline() == b": alive\n"
        yield got


async def events(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The next events, each with its id."""
    found, last = [], ""
    while len(found) < count:
        line = (await answer.content.readline()).decode()
        assert line, "the tail has ended"
        if line.startswith("id: "):
            last = line[4:].strip()
        elif line.startswith("data: "):
            found.append((last, json.loads(line[6:])))
    return found


async def ended(answer: aiohttp.ClientResponse) -> None:
    """The body has its proper end within a few seconds."""
    async with asyncio.timeout(LONG):
        await answer.content.read()


async def test_a_tail_has_what_is_written_from_now_on_and_nothing_else(
    world: World, admin: Key
) -> None:
    await write(world, "before")
    async with tail(world, admin, "?event=credential.use") as answer:
        await write(world, "one", "two")
        (first, one), (_, two) = await events(answer, 2)
        assert (one["consumer"], two["consumer"]) == ("one", "two")
    async with tail(world, admin, "?consumer=two", **{"Last-Event-ID": first}) as answer:
        ((_, again),) = await events(answer, 1)
        assert again == two
    async with tail(world, admin, f"?after={first}&event=credential.use") as answer:
        assert (await events(answer, 1))[0][1] == two


async def test_a_tail_ends_when_its_key_is_revoked_or_loses_the_power(
    world: World, admin: Key
) -> None:
    for change in ({"status": "revoked"}, {"scopes": "gateway/read"}):
        key = await world.issue("gateway/audit")
        async with tail(world, key) as answer:
            await world.client.hset(world.record(key), mapping=change)
            await ended(answer)


async def test_tails_do_not_hold_up_the_end_of_the_gateway(world: World, admin: Key) -> None:
    async with tail(world, admin) as answer:
        async with asyncio.timeout(LONG):
            assert await world.gateways[0].drain(60.0) == 0
        await ended(answer)


async def test_so_many_read_at_a_time_and_who_leaves_makes_room(
    world: World, ask: Ask, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_readers, "MOST_READERS", 2)
    await write(world, "one")
    async with tail(world, admin), tail(world, admin):
        for path in ("/audit/tail", "/audit/export"):
            refused = await ask(admin, "GET", path)
            assert (refused.status, refused.json["code"]) == (409, "refused")
    async with asyncio.timeout(LONG):
        while (await ask(admin, "GET", "/audit/export")).status != 200:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", ["", "/tail", "/export"])
async def test_an_event_that_there_is_not_is_refused_with_the_one_that_was_meant(
    path: str, ask: Ask, admin: Key
) -> None:
    refused = await ask(admin, "GET", f"/audit{path}?event=key.revok")
    (error,) = refused.json["errors"]
    assert (refused.status, error["field"]) == (422, "event")
    assert "did you mean 'key.revoke'?" in error["message"]


async def test_a_silent_tail_gives_signs_of_life(
    world: World, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_readers, "PING_SECONDS", 0.1)
    async with tail(world, admin) as answer:
        assert await answer.content.readline() == b"\n"
        assert await answer.content.readline() == b": alive\n"


async def test_an_export_is_a_file_that_verifies(
    world: World, ask: Ask, admin: Key, tmp_path: Path
) -> None:
    # Characters that some readers take for the end of a line stand in records as they are.
    await write(world, *("one", "two\u2028\x85", "three") * 400)
    answer = await ask(admin, "GET", "/audit/export")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.jsonl"'
    file = tmp_path / "audit.jsonl"
    file.write_bytes(answer.body)
    chains = Chains(KEYS.by_id, signed=True, gone_before=-float("inf"))
    assert not any(chains.problem(record) for _, record in read_lines(file))
    assert chains.records == 1201
    some = await ask(admin, "GET", "/audit/export?consumer=one&since=2h")
    assert [json.loads(one)["consumer"] for one in some.body.splitlines()] == ["one"] * 400
    assert (await ask(admin, "GET", "/audit/export?until=1h")).body == b""
    assert (await ask(admin, "GET", "/audit/export?until=2999-12-31")).body.count(b"\n") >= 1201
    for field in ("since", "until"):
        refused = (await ask(admin, "GET", f"/audit/export?{field}=soon")).json
        assert refused["errors"][0]["field"] == field
    refused = (await ask(admin, "GET", "/audit/export?since=1h&until=2h")).json
    assert refused["errors"][0]["field"] == "until", "nothing was written after it and before it"
    assert (await ask(admin, "HEAD", "/audit/export")).body == b""


async def test_a_search_looks_at_so_many_records_and_says_where_it_stopped(
    world: World, ask: Ask, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_readers, "MOST_LOOKED_AT", 10)
    await write(world, "wanted", *["other"] * 34, "wanted")
    found, asked, before = [], 0, ""
    while asked < 10:
        asked += 1
        path = f"/audit?consumer=wanted&event=credential.use&before={before}"
        told = (await ask(admin, "GET", path)).json
        found += told["records"]
        if told["next"] is None:
            break
        before = told["next"]
    assert [one["seq"] for one in found] == [36, 1]
    assert asked == 4


async def test_verifying_names_the_first_bad_record(world: World, ask: Ask, admin: Key) -> None:
    await write(world, "one", "two", "three")
    good = (await ask(admin, "GET", "/audit/verify")).json
    assert (good["ok"], good["complete"], good["records"]) == (True, True, 4)
    part = (await ask(admin, "GET", "/audit/verify?limit=2")).json
    assert (part["ok"], part["complete"], part["records"]) == (True, False, 2)
    name = f"{world.store.prefix}audit"
    entries = await world.client.xrange(name)
    await world.client.xdel(name, entries[1][0])
    bad = (await ask(admin, "GET", "/audit/verify")).json
    assert (bad["ok"], bad["bad"]) == (False, entries[2][0])
    assert "number 3" in bad["reason"]
    two = await asyncio.gather(*(ask(admin, "GET", "/audit/verify") for _ in range(2)))
    assert sorted(one.status for one in two) in ([200, 200], [200, 409])


async def test_acts_that_nobody_signed_are_counted_and_not_ok(
    world: World, ask: Ask, admin: Key
) -> None:
    events: tuple[Event, ...] = ("key.create", "key.revoke")
    for event in events:
        await write(world, "sales", event=event, keys=audit_keys(MasterKeys(())))
    await write(world, "one")
    told = (await ask(admin, "GET", "/audit/verify")).json
    first = (await world.client.xrange(f"{world.store.prefix}audit"))[0][0]
    assert (told["ok"], told["bad"], told["unsigned"]) == (False, first, 4)
    assert "not signed" in told["reason"] and told["records"] == 6


async def test_where_the_stream_cannot_be_read_it_is_said_at_once(
    world: World, ask: Ask, admin: Key
) -> None:
    await world.client.set(f"{world.store.prefix}audit", "no stream")
    for path in ("", "/tail", "/export", "/verify"):
        answer = await ask(admin, "GET", f"/audit{path}")
        assert (answer.status, answer.json["code"]) == (503, "store_unavailable")


async def test_an_export_whose_key_is_revoked_is_cut_so_that_it_cannot_look_whole(
    world: World, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_readers, "CHECK_SECONDS", 0.0)
    await write(world, *["one"] * 3000)
    sent = {"Authorization": f"Bearer {admin.text}"}
    async with world.session.get(url(world, "/export"), headers=sent) as answer:
        await answer.content.readany()
        await world.client.hset(world.record(admin), "status", "revoked")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


async def test_a_reader_of_http_1_0_gets_the_same_without_chunks(world: World, admin: Key) -> None:
    await write(world, "one")
    address = world.gateways[0].admin.address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = f"GET /admin/v1/audit/export HTTP/1.0\r\nAuthorization: Bearer {admin.text}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(LONG):
        told, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"chunked" not in told and b"Connection: close" in told
    assert [json.loads(line)["event"] for line in body.splitlines()] == [
        "credential.use",
        "audit.end",
    ]
