"""Acts on credentials are on record before they are done, and do what they say and no more."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.errors import MissingError, OperationError, StoreError, UsageError
from gateway.services.credentials.vault import Vault
from gateway.services.credentials.views import State
from gateway.store.vault import VaultStore

NAME, OLD, NEW = CredentialId("crm"), b"m" * 32, b"n" * 32
FIELDS = {"username": "u", "password": "p"}
CRM = Credential(NAME, "basic", Version(1, FIELDS), expires_at=2**40)

Act = Callable[[Vault], Awaitable[object]]


class Place:
    """`seen`: each act with what was in the vault when it was recorded."""

    def __init__(self, client: Redis) -> None:
        self.store = VaultStore(client, "gw:")
        self.broken = False
        self.seen: list[tuple[str, CredentialId, int, bytes | None]] = []
        self.envelope = Envelope(MasterKeys((NEW, OLD)))
        self.vault = Vault(self.store, self.envelope, self._record)

    async def _record(self, event: str, name: CredentialId, version: int, code: str = "") -> None:
        assert not code
        if self.broken:
            raise StoreError("The disk is full.")
        self.seen.append((event, name, version, await self.store.get(NAME)))

    async def opened(self) -> Credential:
        record = await self.store.get(NAME)
        assert record is not None
        return self.envelope.open(NAME, record)


@pytest.fixture
async def place(client: Redis) -> Place:
    """The credential is under the older of two master keys."""
    made = Place(client)
    assert await made.store.put(NAME, Envelope(MasterKeys((OLD,))).seal(CRM), None)
    return made


async def rewrap(vault: Vault) -> object:
    return [done async for done in vault.rewrap()]


ACTS: dict[str, tuple[Act, int]] = {
    "set": (lambda vault: vault.set(CRM), 2),
    "rotate": (lambda vault: vault.rotate(NAME, {"password": "q"}, 60), 2),
    "delete": (lambda vault: vault.delete(NAME), 1),
    "rewrap": (rewrap, 1),
}


@pytest.mark.parametrize("verb", ACTS)
async def test_an_act_is_on_record_before_it_is_done(place: Place, verb: str) -> None:
    before = await place.store.get(NAME)
    act, version = ACTS[verb]
    await act(place.vault)
    assert place.seen == [(f"credential.{verb}", NAME, version, before)]
    assert await place.store.get(NAME) != before


@pytest.mark.parametrize("verb", ACTS)
async def test_an_act_that_cannot_be_recorded_is_not_done(place: Place, verb: str) -> None:
    before = await place.store.get(NAME)
    place.broken = True
    with pytest.raises(StoreError, match="full"):
        await ACTS[verb][0](place.vault)
    assert await place.store.get(NAME) == before


async def test_a_rotation_changes_what_is_given_and_keeps_the_old_values_for_their_grace(
    place: Place,
) -> None:
    now = await place.vault.now()
    await place.vault.rotate(NAME, {"password": "q"}, 60)
    made = await place.opened()
    assert made.current == Version(2, {"username": "u", "password": "q"})
    assert made.previous is not None and made.previous.fields == CRM.current.fields
    assert made.previous.until is not None and now + 60 <= made.previous.until <= now + 65
    assert made.expires_at == CRM.expires_at
    await place.vault.rotate(NAME, {"password": "r"}, 0, expires_at=2**41, keep_expiry=False)
    made = await place.opened()
    assert (made.current.number, made.previous, made.expires_at) == (3, None, 2**41)


KEYS = {"access_key_id": "a", "access_key_secret": "s"}
PARTS = {"host": "h", "port": "1", "username": "u", "password": "p", "name": "n"}


@pytest.mark.parametrize(
    ("type_name", "old", "new", "then"),
    [
        ("ak_sk", {**KEYS, "security_token": "t"}, KEYS, {**KEYS, "security_token": "t"}),
        ("ak_sk", {**KEYS, "security_token": "t"}, {"security_token": ""}, KEYS),
        ("ak_sk", {**KEYS, "security_token": "", "account_id": ""}, KEYS, KEYS),
        ("database", PARTS, {"url": "db://h"}, {"url": "db://h"}),
        ("database", {"url": "db://h"}, PARTS, PARTS),
        ("database", PARTS, {"password": "q"}, {**PARTS, "password": "q"}),
    ],
)
async def test_optional_fields_go_when_they_are_empty_and_a_whole_set_replaces_another(
    type_name: str,
    old: dict[str, str],
    new: dict[str, str],
    then: dict[str, str],
    place: Place,
) -> None:
    await place.vault.set(Credential(NAME, type_name, Version(1, old)))
    await place.vault.rotate(NAME, new, 0)
    assert (await place.opened()).current.fields == then


async def test_what_is_set_is_all_that_is_there_and_counts_on_also_after_a_deletion(
    place: Place,
) -> None:
    await place.vault.rotate(NAME, {"password": "q"}, 60)
    await place.vault.set(replace(CRM, expires_at=None))
    made = await place.opened()
    assert (made.current, made.previous) == (Version(3, CRM.current.fields), None)
    assert made.expires_at is None
    await place.vault.delete(NAME)
    with pytest.raises(MissingError):
        await place.vault.show(NAME)
    assert (await place.vault.set(CRM)).version == 4


@pytest.mark.parametrize("again", [True, False], ids=["set anew", "deleted"])
@pytest.mark.parametrize("left", ["a list", "an empty text", "nothing"])
async def test_a_record_that_was_lost_by_hand_is_shown_as_broken_until_an_act_ends_that(
    left: str, again: bool, place: Place, client: Redis
) -> None:
    name = place.store.name(NAME)
    await client.delete(name)
    if left == "a list":
        await client.rpush(name, "of somebody's own")
    elif left == "an empty text":
        await client.set(name, "")
    (listed,) = await place.vault.all()
    assert listed == await place.vault.show(NAME)
    assert listed.state is State.BROKEN and "no command did that: set it anew" in listed.problem
    with pytest.raises(OperationError, match="no command did that: set it anew"):
        await place.vault.rotate(NAME, {"password": "q"}, 0)
    if again:
        await place.vault.set(CRM)
        assert (await place.opened()).current == CRM.current
    else:
        await place.vault.delete(NAME)
        assert (await place.vault.all(), await client.exists(name)) == ([], 0)


async def test_what_is_of_no_use_is_neither_written_nor_recorded(place: Place) -> None:
    before = await place.store.get(NAME)
    with pytest.raises(UsageError):
        await place.vault.set(replace(CRM, current=Version(1, {"username": "u"})))
    for fields in ({"none": "x"}, {"password": ""}, {"password": " \t"}, {}):
        with pytest.raises(UsageError):
            await place.vault.rotate(NAME, fields, 0)
    assert (place.seen, await place.store.get(NAME)) == ([], before)


async def test_a_change_that_somebody_else_made_meanwhile_is_not_written_over(
    place: Place,
) -> None:
    theirs = b""

    told: list[tuple[str, str]] = []

    async def write_theirs(event: str, name: CredentialId, version: int, code: str = "") -> None:
        nonlocal theirs
        told.append((event, code))
        if code:
            raise StoreError("Nobody has to know of this.")
        theirs = place.envelope.seal(
            replace(CRM, current=Version(version, {**FIELDS, "password": "t"}))
        )
        await place.store.put(NAME, theirs, await place.store.get(NAME))

    vault = Vault(place.store, place.envelope, write_theirs)
    for verb in ("rotate", "set", "delete"):
        with pytest.raises(OperationError, match="Somebody else"):
            await ACTS[verb][0](vault)
        assert await place.store.get(NAME) == theirs
        assert told[-2:] == [(f"credential.{verb}", ""), (f"credential.{verb}", "changed")]


async def test_a_name_that_was_mistyped_is_told_with_the_one_that_was_meant(place: Place) -> None:
    with pytest.raises(MissingError, match=f"credential 'crn'. Did you mean '{NAME}'"):
        await place.vault.show(CredentialId("crn"))


async def test_only_a_similar_name_is_taken_for_the_one_that_was_meant(place: Place) -> None:
    await place.vault.set(replace(CRM, id=CredentialId("github", "annabelle")))
    with pytest.raises(MissingError, match="Did you mean 'user/annabelle/github'"):
        await place.vault.show(CredentialId("gihub", "annabelle"))
    with pytest.raises(MissingError, match=r"user/annabelle/crm'\.$"):
        await place.vault.show(CredentialId("crm", "annabelle"))


async def test_nobody_is_told_of_a_credential_of_somebody_else(place: Place) -> None:
    await place.vault.set(replace(CRM, id=CredentialId("crm", "ann")))
    for owner in ("bob", "anne"):
        with pytest.raises(MissingError, match=rf"user/{owner}/crm'\.$"):
            await place.vault.show(CredentialId("crm", owner))


async def test_what_somebody_else_deleted_meanwhile_is_missing(place: Place) -> None:
    async def delete_it(event: str, name: CredentialId, version: int, code: str = "") -> None:
        await place.store.delete(name, await place.store.get(name) or b"", version)

    with pytest.raises(MissingError):
        await Vault(place.store, place.envelope, delete_it).delete(NAME)


async def test_a_rewrap_leaves_what_is_under_the_newest_key_and_drops_what_has_ended(
    place: Place,
) -> None:
    ended = replace(CRM, previous=replace(CRM.current, until=1))
    assert await place.store.put(NAME, place.envelope.seal(ended), await place.store.get(NAME))
    first, second = [[one.outcome async for one in place.vault.rewrap()] for _ in range(2)]
    assert (first, second) == (["rewrapped"], ["already"])
    assert (await place.opened()).previous is None
    assert Envelope(MasterKeys((NEW,))).open(NAME, await place.store.get(NAME) or b"")


async def test_a_rewrap_beside_a_rotation_keeps_what_was_rotated(place: Place) -> None:
    begun: list[str] = []

    async def rotate_meanwhile(
        event: str, name: CredentialId, version: int, code: str = ""
    ) -> None:
        if not begun:
            begun.append(event)
            await place.vault.rotate(name, {"password": "q"}, 60)

    await rewrap(Vault(place.store, place.envelope, rotate_meanwhile))
    kept = await place.opened()
    assert begun == ["credential.rewrap"]
    assert kept.current == Version(2, {**FIELDS, "password": "q"})
    assert kept.previous is not None and kept.previous.fields == FIELDS
