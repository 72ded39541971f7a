"""What a gateway knows of credentials, without asking for them."""

from redis.asyncio import Redis

from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.policies.references import Reference, parse
from gateway.services.credentials.current import LiveCredentials
from tests.services.vaults import Vault


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
        return credentials.problem_of(parse(text).references[0])

    assert problem("${credentials.aa}") == problem("${credentials.crm.password}") == ""
    assert problem("${user.anything.at_all}") == ""
    assert problem("${credentials.nope}") == "there is no credential 'nope'"
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
        told = credentials.problem_of(Reference("db", field))
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
    assert credentials.problem_of(parse("${credentials.bb}").references[0]) == ""
