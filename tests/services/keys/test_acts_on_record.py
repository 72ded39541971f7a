"""Acts on keys are on record before they are done: what cannot be recorded is not done."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.errors import StoreError
from gateway.domain.keys.copies import KeyCopy
from gateway.services.audit.acts import Acts
from gateway.services.audit.writer import Audit
from gateway.services.keys.audited import AuditedKeys
from gateway.store.keys import KeyStore
from tests.store.key_records import FIELDS, ID, NAME, OTHER_ID, present, secret

KEYS = audit_keys(MasterKeys((b"m" * 32,)))

Act = Callable[[KeyStore], Awaitable[object]]


class Sink:
    """Takes records, or none. `seen`: each event with what the key was when it was written."""

    def __init__(self, client: Redis) -> None:
        self.broken = False
        self.most = 10
        self.seen: list[tuple[str, str, str, dict[str, str]]] = []
        self._client = client

    async def append(self, records: Sequence[bytes]) -> None:
        if self.broken or len(self.seen) == self.most:
            raise StoreError("The disk is full.")
        for one in map(json.loads, records):
            now = await self._client.hgetall(NAME)
            self.seen.append((one["event"], one["decision"], one["consumer"], now))


class Place:
    """`plain`: without records, to see what is there. `untold`: keys revoked without a record."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.sink = Sink(client)
        self.untold: list[str] = []
        self.plain = KeyStore(client, "gw:")
        self.acts = Acts(Audit(self.sink, KEYS), "operator:ann")
        self.keys = AuditedKeys(client, "gw:", self.acts, self.untold.append)

    async def everything(self) -> dict[str, dict[str, str]]:
        return {name: await self.client.hgetall(name) for name in await self.client.keys("*")}


@pytest.fixture
async def place(client: Redis) -> Place:
    made = Place(client)
    await made.plain.create(ID, secret(1), FIELDS)
    return made


async def imports(keys: KeyStore) -> object:
    copy = KeyCopy(replace(await present(keys), label="imported"))
    return await keys.put(copy, overwrite=True, dry_run=False)


async def exports(keys: KeyStore) -> object:
    return await keys.copies([await present(keys)])


async def on_one_connection(keys: KeyStore) -> object:
    async with keys.on_one_connection() as line:
        return await line.update(ID, {"label": "x"})


ACTS: dict[str, Act] = {
    "create": lambda keys: keys.create(OTHER_ID, secret(2), FIELDS),
    "rotate": lambda keys: keys.rotate(ID, secret(2), 60),
    "disable": lambda keys: keys.set_status(ID, "disabled"),
    "update": on_one_connection,
    "import": imports,
    "delete": lambda keys: keys.delete(ID),
    "export": exports,
}


@pytest.mark.parametrize("verb", ACTS)
async def test_an_act_is_on_record_before_it_is_done(place: Place, verb: str) -> None:
    before = await place.client.hgetall(NAME)
    await ACTS[verb](place.keys)
    assert place.sink.seen == [(f"key.{verb}", "allowed", "sales", before)]
    assert verb == "export" or await place.everything() != {NAME: before}


async def test_a_key_that_was_given_as_a_consumer_is_on_record_without_its_secret(
    place: Place,
) -> None:
    pasted = f"agk_live_{OTHER_ID}_{'s3cr3t' * 6}xy"
    await place.keys.create(OTHER_ID, secret(2), {**FIELDS, "consumer": pasted})
    await place.keys.delete(OTHER_ID)
    assert [consumer for _, _, consumer, _ in place.sink.seen] == [f"agk_live_{OTHER_ID}_…"] * 2


async def test_a_revocation_is_done_without_its_record_and_said_to_have_none(
    place: Place,
) -> None:
    await place.keys.set_status(ID, "revoked")
    assert (place.sink.seen[0][0], place.untold) == ("key.revoke", [])
    await place.plain.update(ID, {"status": "active"})
    place.sink.broken = True
    async with place.keys.on_one_connection() as line:
        assert await line.set_status(ID, "revoked") == "done"
    assert (await present(place.plain)).status == "revoked"
    assert place.untold == [ID]


NOTHING: dict[str, Act] = {
    "create": lambda keys: keys.create(ID, secret(2), FIELDS),
    "rotate": lambda keys: keys.rotate(OTHER_ID, secret(2), 60),
    "revoke": lambda keys: keys.set_status(OTHER_ID, "revoked"),
    "update": lambda keys: keys.update(ID, {"label": "x"}, "another revision"),
    "delete": lambda keys: keys.delete(ID, "another revision"),
}


@pytest.mark.parametrize("verb", NOTHING)
async def test_that_an_act_came_to_nothing_is_on_record_too(place: Place, verb: str) -> None:
    await NOTHING[verb](place.keys)
    decisions = [(event, decision) for event, decision, _, _ in place.sink.seen]
    assert decisions == [(f"key.{verb}", "allowed"), (f"key.{verb}", "denied")]
    assert place.acts.done == 0


async def test_what_came_to_nothing_is_told_also_where_that_cannot_be_recorded(
    place: Place,
) -> None:
    place.sink.most = 1
    assert await place.keys.delete(ID, "another revision") == "changed"
    assert [decision for _, decision, _, _ in place.sink.seen] == ["allowed"]


async def test_what_was_so_already_is_no_refusal(place: Place) -> None:
    assert await place.keys.set_status(ID, "active") == "already"
    assert [decision for _, decision, _, _ in place.sink.seen] == ["allowed"]


async def test_what_is_only_tried_is_on_no_record(place: Place) -> None:
    copy = KeyCopy(await present(place.plain))
    assert await place.keys.put(copy, overwrite=True, dry_run=True) == "same"
    assert place.sink.seen == []
