"""References resolved for a request: the newest values, the ones before, and what they were."""

import time

import pytest
from redis.asyncio import Redis

from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.references import parse
from gateway.services.credentials.current import LiveCredentials, Use
from tests.services.vaults import Vault


@pytest.fixture
def vault(client: Redis) -> Vault:
    return Vault(client)


async def live(vault: Vault) -> LiveCredentials:
    sync = vault.sync()
    await sync.check()
    return LiveCredentials(sync, lambda: vault.wall)


async def test_a_text_gets_the_newest_values_and_the_ones_before_while_their_grace_lasts(
    vault: Vault,
) -> None:
    await vault.write("aa", 2, grace=501)
    await vault.write("bb", 7, grace=500)
    credentials = await live(vault)
    resolved = credentials.resolve(parse("x ${credentials.aa} $${y} ${credentials.bb.value}"))
    assert resolved.newest == "x aa-2 ${y} bb-7"
    assert resolved.previous == "x aa-1 ${y} bb-7"
    assert resolved.uses == (
        Use(CredentialId("aa"), 2),
        Use(CredentialId("bb"), 7),
        Use(CredentialId("aa"), 1),
    )
    assert set(resolved.secrets) == {"aa-2", "aa-1", "bb-7"}
    assert "aa-2" not in repr(resolved) and "aa-1" not in repr(resolved)
    assert credentials.resolve(parse("${credentials.bb}")).previous is None


async def test_what_was_resolved_before_is_never_older_than_what_is_known(vault: Vault) -> None:
    await vault.write("aa", 2, grace=520)
    await vault.write("fresh", max_stale=60)
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    template, stale = parse("${credentials.aa}"), parse("${credentials.fresh}")
    for _ in range(2):
        assert credentials.resolve(template).previous == "aa-1"
        assert credentials.resolve(stale).newest == "fresh-1"
    vault.wall = 520.0
    assert credentials.resolve(template).previous is None, "its grace has ended"
    await vault.write("aa", 3)
    await sync.check()
    assert credentials.resolve(template).newest == "aa-3"
    vault.now += 61
    with pytest.raises(Denied):
        credentials.resolve(stale)
    await vault.delete("aa", 3)
    await sync.check()
    with pytest.raises(Denied):
        credentials.resolve(template)


async def test_a_users_own_credential_is_that_users(vault: Vault) -> None:
    for name in ("user/u1/github", "user/u2/github", "github"):
        await vault.write(name)
    credentials = await live(vault)
    template = parse("${user.github.value}")
    assert credentials.resolve(template, "u1").newest == "user/u1/github-1"
    assert credentials.resolve(template, "u2").newest == "user/u2/github-1"
    for nobody in (None, "", "u3"):
        with pytest.raises(Denied) as denied:
            credentials.resolve(template, nobody)
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE


@pytest.mark.denial("credential_unavailable")
async def test_what_cannot_be_had_is_denied_without_telling_what_it_is(vault: Vault) -> None:
    await vault.write("aa")
    credentials = await live(vault)
    for text in ("${credentials.nope}", "${credentials.aa.nope}"):
        with pytest.raises(Denied) as denied:
            credentials.resolve(parse(text))
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE
        assert denied.value.denial.status == 503
        assert "nope" not in str(denied.value)


async def test_a_policy_is_told_what_its_references_cannot_mean(vault: Vault) -> None:
    await vault.write("aa")
    fields = {"username": "u", "password": "p"}
    basic = Credential(CredentialId("crm"), "basic", Version(1, fields))
    assert await vault.store.put(basic.id, vault.envelope.seal(basic), None)
    credentials = await live(vault)

    def problem(text: str) -> str:
        return credentials.problem_of(parse(text).references[0])

    assert problem("${credentials.aa}") == problem("${credentials.crm.password}") == ""
    assert problem("${user.anything.at_all}") == ""
    assert problem("${credentials.nope}") == "there is no credential 'nope'"
    assert problem("${credentials.aa.nope}") == "the credential 'aa' has no field 'nope'"
    assert "such as ${credentials.crm.password}" in problem("${credentials.crm}")


async def test_resolving_waits_for_nothing_and_takes_microseconds(vault: Vault) -> None:
    await vault.write("aa")
    credentials = await live(vault)
    template = parse("Bearer ${credentials.aa}")
    began = time.perf_counter()
    for _ in range(1000):
        credentials.resolve(template)
    assert (time.perf_counter() - began) / 1000 < 0.001
