"""What a gateway knows of credentials, without asking for them."""

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.client.sync import Report
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.references import Reference, id_of, parse
from gateway.services.credentials.current import LiveCredentials, log_report
from tests.flows.own_store import own_store
from tests.services.vaults import Vault, problem_of


async def test_a_policy_is_told_what_its_references_cannot_mean(
    client: Redis,
) -> None:
    vault = Vault(client)
    await vault.write("aa")
    fields = {"username": "u", "password": "p"}
    basic = Credential(CredentialId("crm"), "basic", Version(1, fields))
    assert await vault.store.put(basic.id, vault.envelope.seal(basic), None)
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)

    def problem(text: str) -> str:
        return problem_of(credentials, parse(text).references[0])

    assert problem("${credentials.aa}") == problem("${credentials.crm.password}") == ""
    assert problem("${user.anything.at_all}") == ""
    advice = "there is no credential 'nope': 'gateway credentials set nope' makes one"
    assert problem("${credentials.nope}") == advice
    assert problem("${credentials.aa.nope}") == "the credential 'aa' has no field 'nope'"
    assert "such as ${credentials.crm.password}" in problem("${credentials.crm}")


async def test_a_policy_names_no_credential_that_is_for_pulling(client: Redis) -> None:
    vault = Vault(client)
    database = Version(1, {"url": "postgresql://u:p@h/d"})
    await vault.write("db", type="database", current=database)
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    for field in ("", "url", "nope"):
        told = problem_of(credentials, Reference("db", field))
        assert told == (
            "the credential 'db' of type database is pulled by agents, and put into no call"
        )


async def test_a_broken_credential_stands_against_no_policy(client: Redis) -> None:
    """Or what needs others would wait for it."""
    vault = Vault(client)
    await vault.write("aa")
    await vault.write("bb")
    await client.set("gw:cred:{vault}:item:bb", b"garbage")
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    assert [str(name) for name in credentials.broken] == ["bb"]
    assert problem_of(credentials, parse("${credentials.bb}").references[0]) == ""


async def test_before_the_first_check_nothing_stands_against_a_policy(client: Redis) -> None:
    vault = Vault(client)
    credentials = LiveCredentials(vault.sync(), lambda: vault.wall)
    assert problem_of(credentials, parse("${credentials.nope}").references[0]) == ""


async def test_what_must_be_fresh_is_put_into_no_call_while_the_vault_is_away() -> None:
    async with own_store() as store:
        vault = Vault(store.client)
        await vault.write("fresh", max_stale=0)
        await vault.write("any")
        sync = vault.sync()
        await sync.check()
        credentials = LiveCredentials(sync, lambda: vault.wall)
        fresh, other = CredentialId("fresh"), CredentialId("any")
        await credentials.freshen((other, fresh))
        store.kill()
        vault.now += 1
        with pytest.raises(Denied) as denied:
            await credentials.freshen((other, fresh))
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE
        await credentials.freshen((other,))
        await credentials.try_freshen((fresh, other))
        assert not credentials.usable(fresh) and credentials.usable(other)


def test_what_was_changed_or_removed_is_logged_by_name() -> None:
    aa, bb = CredentialId("aa"), CredentialId("bb", "u1")
    with capture_logs() as logged:
        for report in (Report(), Report(changed=(aa,)), Report(removed=(bb,))):
            log_report(report)
    assert [(line["changed"], line["removed"]) for line in logged] == [
        (["aa"], []),
        ([], ["user/u1/bb"]),
    ]


async def test_a_decoy_is_found_by_nobody_and_whoever_asks_for_it_is_told_of(
    client: Redis,
) -> None:
    vault, bait = Vault(client), CredentialId("bait")
    await vault.write("aa")
    await vault.write("bait", type="canary")
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    assert [str(name) for name in credentials.known] == ["aa"]
    assert credentials.is_decoy(bait) and not credentials.is_decoy(CredentialId("aa"))
    assert not credentials.usable(bait) and credentials.usable(CredentialId("aa"))
    denials = []
    for name in (bait, CredentialId("none")):
        with pytest.raises(Denied) as denied:
            credentials.find(name)
        denials.append(denied.value)
    assert [(one.code, str(one), one.fields) for one in denials[:1]] == [
        (one.code, str(one), one.fields) for one in denials[1:]
    ]
    assert [one.decoy for one in denials] == ["bait", ""]
    reference = parse("${credentials.bait}").references[0]
    assert "'bait' is a decoy" in problem_of(credentials, reference)


async def test_what_becomes_a_decoy_is_gone_with_the_next_check(client: Redis) -> None:
    vault, name = Vault(client), CredentialId("aa")
    await vault.write("aa")
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    assert name in credentials.known
    await vault.write("aa", 2, type="canary")
    await sync.check()
    assert name not in credentials.known and not credentials.usable(name)
    await vault.write("bb")
    await sync.check()
    assert [str(one) for one in credentials.known] == ["bb"]


def test_a_users_own_credential_is_that_users_and_never_a_shared_one() -> None:
    reference = parse("${user.github.value}").references[0]
    assert id_of(reference, "ann") == CredentialId("github", "ann")
    for nobody in (None, ""):
        with pytest.raises(Denied) as denied:
            id_of(reference, nobody)
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE
