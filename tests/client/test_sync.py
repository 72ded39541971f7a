"""Credentials in memory: all at the start, then what changed, and on while the vault is away."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.client.changes import Changes, SourceError
from gateway.client.sync import SHORTEST_PAUSE, Sync, UnavailableError
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.services.credentials.source import WrongMasterKeyError
from tests.flows.own_store import own_store
from tests.services.vaults import Vault

LONG_AGO = 10**6


@pytest.fixture
def vault(client: Redis) -> Vault:
    return Vault(client)


async def test_one_of_a_thousand_that_was_rotated_is_the_one_that_is_fetched_and_decrypted(
    vault: Vault,
) -> None:
    names = [f"c{i}" for i in range(1000)]
    for name in names:
        await vault.write(name)
    sync = vault.sync()
    assert await sync.check()
    assert vault.opened.count("c7") == 1 and len(vault.opened) == 1000
    vault.opened.clear()
    await vault.client.config_resetstat()
    assert await sync.check()
    assert vault.opened == []
    await vault.write("c7", 2)
    await vault.client.config_resetstat()
    assert await sync.check()
    assert vault.opened == ["c7"]
    assert vault.value(sync, "c7") == "c7-2"
    assert vault.value(sync, "c8") == "c8-1"
    told = await vault.client.info("commandstats")
    assert told["cmdstat_mget"]["calls"] == 1
    # What a poll reads is one record: its size, and not that of a thousand.
    assert (await vault.client.info("stats"))["total_net_output_bytes"] < 20_000


async def test_a_check_that_finds_nothing_new_is_one_round_trip_that_reads_no_record(
    vault: Vault,
) -> None:
    await vault.write("aa")
    sync = vault.sync()
    await sync.check()
    await vault.client.config_resetstat()
    await sync.check()
    told = await vault.client.info("commandstats")
    assert "cmdstat_mget" not in told and told["cmdstat_evalsha"]["calls"] == 1


async def test_what_is_deleted_is_gone_with_the_next_check(vault: Vault) -> None:
    await vault.write("aa")
    await vault.write("user/u1/aa")
    sync = vault.sync()
    await sync.check()
    await vault.delete("aa")
    await sync.check()
    with pytest.raises(UnavailableError, match="no credential 'aa'"):
        sync.get(CredentialId("aa"))
    assert vault.value(sync, "user/u1/aa") == "user/u1/aa-1"
    assert list(sync.gone) == [CredentialId("aa")]
    await vault.write("aa", 2)
    await sync.check()
    assert vault.value(sync, "aa") == "aa-2"
    assert not sync.gone


async def test_what_is_set_of_a_version_without_a_new_value_is_taken(vault: Vault) -> None:
    await vault.write("aa", 2)
    sync = vault.sync()
    await sync.check()
    await vault.write("aa", 2, max_stale=60)
    await sync.check()
    assert sync.get(CredentialId("aa")).max_stale == 60
    assert not sync.broken


async def test_one_that_is_broken_holds_up_no_other_and_its_last_good_value_serves_on(
    vault: Vault,
) -> None:
    for name in ("aa", "bb", "cc"):
        await vault.write(name)
    sync = vault.sync()
    await sync.check()
    for name, number in (("aa", 2), ("bb", 2), ("cc", 2)):
        await vault.write(name, number)
    bad = (await vault.client.get("gw:cred:{vault}:item:bb")).replace("api_key", "bearer!")
    await vault.client.set("gw:cred:{vault}:item:bb", bad)
    assert await sync.check()
    assert [vault.value(sync, n) for n in ("aa", "bb", "cc")] == ["aa-2", "bb-1", "cc-2"]
    assert "'bb'" in sync.broken[CredentialId("bb")]
    fresh = vault.sync()
    assert await fresh.check()
    assert vault.value(fresh, "aa") == "aa-2"
    with pytest.raises(UnavailableError, match="'bb' is refused"):
        fresh.get(CredentialId("bb"))
    await vault.write("bb", 3)
    await fresh.check()
    assert vault.value(fresh, "bb") == "bb-3" and not fresh.broken


async def test_a_broken_one_is_as_stale_as_it_is_broken(vault: Vault) -> None:
    await vault.write("aa", max_stale=60)
    sync = vault.sync()
    await sync.check()
    await vault.write("aa", 2, max_stale=60)
    await vault.client.set("gw:cred:{vault}:item:aa", "scribbled over")
    await sync.check()
    vault.now += 50
    await sync.check()
    assert vault.value(sync, "aa") == "aa-1"
    vault.now += 20
    await sync.check()
    with pytest.raises(UnavailableError, match="cannot be read"):
        sync.get(CredentialId("aa"))


async def test_a_record_that_goes_back_to_an_older_version_is_refused(vault: Vault) -> None:
    await vault.write("aa", 4)
    older = await vault.store.get(CredentialId("aa"))
    await vault.write("aa", 5)
    sync = vault.sync()
    await sync.check()
    now = await vault.store.get(CredentialId("aa"))
    assert older and await vault.store.put(CredentialId("aa"), older, now)
    await sync.check()
    assert vault.value(sync, "aa") == "aa-5"
    assert "went back from version 5 to 4" in sync.broken[CredentialId("aa")]


async def test_what_is_set_anew_where_its_record_was_lost_is_taken_though_it_counts_anew(
    vault: Vault,
) -> None:
    """An operator whose command says that the new value is there must be right."""
    await vault.write("aa", 5, created_at=1000)
    sync = vault.sync()
    await sync.check()
    await vault.client.set("gw:cred:{vault}:item:aa", "scribbled over")
    await vault.write("aa", 1, created_at=2000)
    await sync.check()
    assert vault.value(sync, "aa") == "aa-1" and not sync.broken


async def test_what_is_rotated_after_a_backup_was_restored_is_taken_and_the_backup_is_not(
    vault: Vault,
) -> None:
    name = CredentialId("aa")
    await vault.write("aa", 1, created_at=1000)
    backup = await vault.store.get(name)
    await vault.write("aa", 4, created_at=1000, rotated_at=4000)
    sync = vault.sync()
    await sync.check()
    assert backup and await vault.store.put(name, backup, await vault.store.get(name))
    await sync.check()
    assert vault.value(sync, "aa") == "aa-4" and "went back" in sync.broken[name]
    await vault.write("aa", 2, created_at=1000, rotated_at=5000)
    await sync.check()
    assert vault.value(sync, "aa") == "aa-2" and not sync.broken


async def test_a_record_removed_behind_the_gateways_back_is_told_apart_from_a_deletion(
    vault: Vault,
) -> None:
    await vault.write("aa")
    await vault.client.delete("gw:cred:{vault}:item:aa")
    sync = vault.sync()
    await sync.check()
    with pytest.raises(UnavailableError, match="no command did that: set it anew"):
        sync.get(CredentialId("aa"))


async def test_a_vault_that_was_flushed_is_an_error_and_not_a_deletion_of_everything(
    vault: Vault,
) -> None:
    await vault.write("aa")
    sync = vault.sync()
    await sync.check()
    await vault.client.flushall()
    assert not await sync.check()
    assert "lost all" in sync.last_error
    assert vault.value(sync, "aa") == "aa-1"
    await vault.write("bb")
    assert await sync.check()
    assert vault.value(sync, "bb") == "bb-1"


async def test_a_vault_that_went_back_in_time_is_read_as_a_whole(
    vault: Vault, client: Redis
) -> None:
    await vault.write("aa")
    revision = await client.get("gw:cred:{vault}:revision")
    await vault.write("bb")
    sync = vault.sync()
    await sync.check()
    # As a dump from before `bb` would leave it.
    await client.set("gw:cred:{vault}:revision", revision)
    await client.delete("gw:cred:{vault}:item:bb")
    await client.zrem("gw:cred:{vault}:changes", "bb")
    assert await sync.check()
    assert vault.value(sync, "aa") == "aa-1"
    with pytest.raises(UnavailableError):
        sync.get(CredentialId("bb"))


async def test_with_the_wrong_master_key_nothing_opens_and_one_sentence_says_so(
    vault: Vault,
) -> None:
    await vault.write("aa")
    await vault.write("bb")
    kept = {name: await vault.client.get(name) for name in ("gw:cred:{vault}:item:aa",)}
    other = Vault(vault.client, b"x" * 32)
    sync = other.sync()
    assert not await sync.check()
    assert "None of the given master keys" in sync.last_error
    assert sync.last_error.count(". ") == 1 and not sync.ready
    assert kept == {name: await vault.client.get(name) for name in kept}
    with pytest.raises(WrongMasterKeyError):
        await sync._source.fetch(0, 0.0)


async def test_values_serve_on_while_the_vault_is_away_for_as_long_as_each_may_be_stale() -> None:
    async with own_store() as store:
        vault = Vault(store.client)
        await vault.write("forever")
        await vault.write("minutes", max_stale=300)
        await vault.write("fresh", max_stale=0)
        sync = vault.sync()
        await sync.check()
        assert [vault.value(sync, n) for n in ("forever", "minutes", "fresh")]
        store.kill()
        assert not await sync.check()
        assert vault.value(sync, "minutes") == "minutes-1"
        with pytest.raises(UnavailableError, match="'fresh'"):
            sync.get(CredentialId("fresh"))
        vault.now += 299
        assert vault.value(sync, "minutes") == "minutes-1"
        vault.now += 2
        with pytest.raises(UnavailableError, match="301 s ago"):
            sync.get(CredentialId("minutes"))
        vault.now += LONG_AGO
        assert vault.value(sync, "forever") == "forever-1"
        assert sync.age() > LONG_AGO and sync.last_error
        await store.start()
        assert await sync.check()
        assert [vault.value(sync, n) for n in ("forever", "minutes", "fresh")]
        assert sync.last_error == "" and sync.age() == 0.0


async def test_what_must_be_fresh_is_checked_when_it_is_used() -> None:
    async with own_store() as store:
        vault = Vault(store.client)
        await vault.write("fresh", max_stale=0)
        await vault.write("any")
        sync = vault.sync()
        await sync.check()
        both = (CredentialId("fresh"), CredentialId("any"))
        vault.now += 1
        await vault.write("fresh", 2, max_stale=0)
        await sync.freshen(both[1:])
        assert vault.value(sync, "fresh") == "fresh-1"
        await asyncio.gather(*(sync.freshen(both) for _ in range(20)))
        assert vault.value(sync, "fresh") == "fresh-2"
        assert vault.opened.count("fresh") == 2, "twenty that need it at once share a check"
        vault.now += 0.001
        await vault.write("fresh", 3, max_stale=0)
        await sync.freshen(both)
        assert vault.value(sync, "fresh") == "fresh-3", "a moment later it is another question"
        store.kill()
        vault.now += 10
        with pytest.raises(UnavailableError, match="'fresh' is too stale"):
            await sync.freshen(both)
        await sync.freshen(both[1:])


class Failing:
    """A source that fails as often as it is told to."""

    waits = False

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def until_news(self, since: int, seconds: float) -> None:
        raise AssertionError("Nobody runs it.")

    async def fetch(self, since: int, wait: float) -> Changes:
        if self.failures:
            self.failures -= 1
            raise SourceError("It is away.")
        return Changes(1)


async def test_checks_come_every_poll_give_or_take_a_fifth() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high if len(drawn) % 2 else low

    sync = Sync(Failing(0), 15.0, draw=draw)
    await sync.check()
    assert [sync._pause(0.0), sync._pause(0.0)] == pytest.approx([18.0, 12.0])
    assert sync._pause(5.0) == pytest.approx(13.0)
    assert set(drawn) == {(0.8, 1.2)}


async def test_failures_are_tried_again_ever_more_slowly_and_told_once() -> None:
    told = []
    sync = Sync(Failing(8), 15.0, told.append, draw=lambda low, high: 1.0)
    pauses = []
    for _ in range(8):
        assert not await sync.check()
        pauses.append(sync._pause(0.0))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert await sync.check()
    assert sync._pause(0.0) == 15.0
    assert [(report.error, report.recovered) for report in told] == [
        ("It is away.", False),
        ("", True),
    ]


async def test_a_credential_that_may_be_stale_for_seconds_is_checked_more_often(
    vault: Vault,
) -> None:
    await vault.write("aa", max_stale=6)
    sync = vault.sync(draw=lambda low, high: 1.0)
    await sync.check()
    assert sync._pause(0.0) == 2.0


class Told:
    """A source of one credential, which says what it is told to, and takes its time."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.now = 0.0
        self.takes = 0.0
        one = Credential(CredentialId("aa"), "api_key", Version(1, {"value": "x"}), max_stale=60)
        self.says = Changes(1, (one,))

    async def until_news(self, since: int, seconds: float) -> None:
        raise AssertionError("Nobody runs it.")

    async def fetch(self, since: int, wait: float) -> Changes:
        self.now += self.takes
        return self.says

    def sync(self) -> Sync:
        return Sync(self, 15.0, clock=lambda: self.now)


async def test_an_answer_is_as_old_as_its_source_says_and_as_the_question_where_none_waits() -> (
    None
):
    """An agent would trust a gateway whose vault is away for as long again."""
    held_back, asked = Told(waits=True), Told(waits=False)
    held_back.takes = asked.takes = 50.0
    for source, age in ((held_back, 0.0), (asked, 50.0)):
        sync = source.sync()
        assert await sync.check()
        assert sync.age() == age
    held_back.says = replace(held_back.says, age=61.0)
    sync = held_back.sync()
    assert await sync.check()
    assert sync.age() == 61.0
    with pytest.raises(UnavailableError, match="may be 60 s stale"):
        sync.get(CredentialId("aa"))


async def test_what_was_made_of_credentials_is_of_no_use_once_one_changed_broke_or_is_gone() -> (
    None
):
    source, aa = Told(waits=False), CredentialId("aa")
    sync, generations = source.sync(), []
    for says in (
        source.says,
        Changes(2, broken={aa: "It is broken."}),
        Changes(3, removed=((aa, 3),)),
        Changes(3),
    ):
        source.says = says
        assert await sync.check()
        generations.append(sync.generation)
    assert generations == [1, 2, 3, 3]


@pytest.mark.parametrize("whole", [True, False])
async def test_one_that_is_told_to_be_broken_again_and_again_is_so_since_the_first_time(
    whole: bool,
) -> None:
    source = Told(waits=False)
    sync = source.sync()
    assert await sync.check()
    source.says = Changes(2, broken={CredentialId("aa"): "It is broken."}, whole=whole)
    for _ in range(3):
        assert await sync.check()
        assert sync.get(CredentialId("aa"))
        source.now += 30.0
    assert await sync.check()
    assert sync.age() == 0.0
    with pytest.raises(UnavailableError, match="It is broken"):
        sync.get(CredentialId("aa"))


class HeldBack:
    """What an agent pulls from: one credential that must be fresh."""

    waits = True

    async def until_news(self, since: int, seconds: float) -> None:
        raise AssertionError("Nobody runs it.")

    async def fetch(self, since: int, wait: float) -> Changes:
        found = Credential(CredentialId("aa"), "api_key", Version(1, {"value": "x"}), max_stale=0)
        return Changes(1, () if since else (found,))


async def test_an_agent_holds_what_must_be_fresh_for_two_seconds_and_asks_more_often() -> None:
    """It hands it out without asking: to hold it for longer than what may be stale for a second
    or two would make it the least strict of all."""
    now = 0.0
    sync = Sync(HeldBack(), 15.0, clock=lambda: now, draw=lambda low, high: high)
    assert await sync.check()
    assert sync._pause(0.0) < 1.0
    now = 1.9
    assert sync.get(CredentialId("aa"))
    now = 2.1
    with pytest.raises(UnavailableError, match="may be 0 s stale"):
        sync.get(CredentialId("aa"))
    assert await sync.check()
    assert sync.get(CredentialId("aa"))


async def test_a_gateway_looks_at_what_must_be_fresh_when_it_is_used_and_not_in_between(
    vault: Vault,
) -> None:
    await vault.write("aa", max_stale=0)
    sync = vault.sync(draw=lambda low, high: 1.0)
    await sync.check()
    assert sync._pause(0.0) == 15.0


async def test_whoever_waits_for_a_change_is_woken_by_it_and_by_nothing_else(vault: Vault) -> None:
    await vault.write("aa")
    sync = vault.sync()
    await sync.check()
    waiting = asyncio.create_task(sync.changed(10.0))
    await sync.check()
    assert not waiting.done()
    await vault.write("aa", 2)
    await sync.check()
    assert await waiting
    assert not await sync.changed(0.01)


async def test_it_runs_by_itself(vault: Vault) -> None:
    sync = vault.sync(poll=0.01)
    running = asyncio.create_task(sync.run())
    async with asyncio.timeout(10):
        await vault.write("aa")
        while CredentialId("aa") not in sync.known:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_what_is_written_is_known_at_once_and_not_with_the_next_poll(vault: Vault) -> None:
    await vault.write("aa")
    sync = vault.sync(poll=3600.0)
    await sync.check()
    running = asyncio.create_task(sync.run())
    for number in (2, 3):
        await vault.write("aa", number)
        assert await sync.changed(20.0)
        assert vault.value(sync, "aa") == f"aa-{number}"
    await vault.delete("aa", 3)
    assert await sync.changed(20.0)
    assert CredentialId("aa") not in sync.known
    running.cancel()


async def test_a_revision_that_was_set_back_by_hand_is_no_news_again_and_again(
    vault: Vault,
) -> None:
    await vault.write("aa")
    sync = vault.sync(poll=3600.0)
    await sync.check()
    await vault.client.set("gw:cred:{vault}:revision", 5)
    await sync.check()
    assert sync.revision == 5
    running = asyncio.create_task(sync.run())
    await vault.client.config_resetstat()
    async with asyncio.timeout(20):
        while (await vault.client.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0.01)
    await asyncio.sleep(3 * SHORTEST_PAUSE)
    assert (await vault.client.info("commandstats"))["cmdstat_evalsha"]["calls"] <= 1
    await vault.write("aa", 2)
    assert await sync.changed(20.0)
    running.cancel()


async def test_where_news_are_refused_polls_go_on(vault: Vault) -> None:
    await vault.client.set("gw:cred:{vault}:news", "no stream")
    sync = vault.sync(poll=1.0)
    await sync.check()
    running = asyncio.create_task(sync.run())
    await vault.write("aa")
    assert await sync.changed(20.0)
    running.cancel()


async def test_no_value_is_in_what_it_tells(vault: Vault) -> None:
    await vault.write("aa")
    sync = vault.sync()
    await sync.check()
    assert "aa-1" not in f"{vault.reports}{sync!r}{sync.known}"


@pytest.mark.parametrize(
    "command",
    [
        ("ZADD", "changes", "inf", "crm"),
        ("ZADD", "changes", "1e300", "crm"),
        ("SET", "revision", "9" * 40),
        ("SET", "revision", "9" * 5000),
        ("HSET", "gone", "crm", "9" * 5000),
    ],
    ids=lambda command: " ".join(command)[:20],
)
async def test_numbers_that_no_gateway_wrote_stop_no_other_credential(
    command: tuple[str, ...], vault: Vault
) -> None:
    for name in ("crm", "other"):
        await vault.write(name)
    sync = vault.sync()
    assert await sync.check()
    verb, name, *rest = command
    await vault.client.execute_command(verb, f"gw:cred:{{vault}}:{name}", *rest)
    await vault.client.delete(vault.store.name(CredentialId("crm")))
    await sync.check()
    for running in (sync, vault.sync()):
        await vault.write("other", number := sync.get(CredentialId("other")).current.number + 1)
        assert await running.check()
        assert vault.value(running, "other") == f"other-{number}"
