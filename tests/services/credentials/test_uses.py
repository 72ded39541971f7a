"""How far a look back into the audit can be trusted to have seen everything."""

import json
import time

import pytest
from redis.asyncio import Redis

from gateway.domain.audit.settings import Retention
from gateway.services.credentials.uses import LookBack
from gateway.store.audit import AuditStore

DAY = 86_400
KEY = "aaaaaaaaaaaa"


def used(event: str = "credential.use") -> str:
    named = [{"name": "crm_key", "version": 1}]
    record = {"event": event, "key_id": KEY, "agent": "tools/fc", "ts": 5, "credentials": named}
    return json.dumps(record)


@pytest.mark.parametrize(
    ("retention", "whole"),
    [
        (Retention(), True),
        (Retention(records=3), False),
        (Retention(seconds=8 * DAY), True),
        (Retention(seconds=6 * DAY), False),
    ],
)
async def test_what_the_stream_may_have_dropped_is_not_taken_for_nothing(
    client: Redis, retention: Retention, whole: bool
) -> None:
    store = AuditStore(client, "gw:")
    await store.append([used(), used("credential.reflected"), used("tool.result")])
    back = LookBack(store, retention)
    since = time.time() - 7 * DAY
    found = await back.uses(since, key_id=KEY)
    assert [(one.count, one.reflected) for one in found.uses] == [(1, 1)]
    assert (found.whole, found.problem) == (whole, "")
    reflected = await back.reflections(since)
    assert (reflected.by_place, reflected.whole) == ({"tools/fc": 1}, whole)


async def test_a_look_ends_where_the_time_asked_about_begins(client: Redis) -> None:
    """Then it does not matter what was dropped before."""
    await client.xadd("gw:audit", {"record": used()}, id="1000-1")
    store = AuditStore(client, "gw:")
    await store.append([used()])
    found = await LookBack(store, Retention(records=1)).uses(
        time.time() - DAY, credential="crm_key"
    )
    assert [one.count for one in found.uses] == [1]
    assert found.whole


async def test_a_use_is_of_its_credential_and_its_key_alone(client: Redis) -> None:
    """Others that are named in the same record, or in the place of something else, are not told."""
    store = AuditStore(client, "gw:")
    named = [{"name": name, "version": 1} for name in ("crm_key", "crm_key2")]
    base = {"event": "credential.use", "agent": "tools/fc", "credentials": named}
    await store.append(
        [
            json.dumps({**base, "key_id": KEY, "ts": 5}),
            json.dumps({**base, "key_id": KEY, "ts": 9}),
            json.dumps({**base, "key_id": "bbbbbbbbbbbb", "user": KEY, "ts": 5}),
        ]
    )
    back, since = LookBack(store, Retention()), time.time() - DAY
    of_key = (await back.uses(since, key_id=KEY)).uses
    assert {(one.credential, one.key_id, one.count) for one in of_key} == {
        ("crm_key", KEY, 2),
        ("crm_key2", KEY, 2),
    }
    of_credential = (await back.uses(since, credential="crm_key")).uses
    assert {(one.credential, one.key_id) for one in of_credential} == {
        ("crm_key", KEY),
        ("crm_key", "bbbbbbbbbbbb"),
    }
    assert [(one.first, one.last) for one in of_key] == [(5, 9), (5, 9)]
