"""What is put into calls is prepared once, and does not outlive the credential that it is of."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.client.sync import Sync
from gateway.domain.audit.record import Named
from gateway.domain.credentials import CredentialId, Version
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.references import Reference, parse
from gateway.domain.policies.services import Inject, Scheme, Sign
from gateway.domain.policies.snapshot import Service, Timeouts
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.inject import MOST_CACHED, Injected, Injector, open_injector
from gateway.services.credentials.secrets_to_hide import ChangedSecrets
from tests.services.vaults import Vault

INJECT = Inject(headers=(("X-Secret", parse("${credentials.aa}")),))
SERVICE = Service("crm", (), Timeouts(), None, frozenset(), INJECT)


@pytest.fixture
def vault(client: Redis) -> Vault:
    return Vault(client)


@pytest.fixture
def sync(vault: Vault) -> Sync:
    return vault.sync()


@pytest.fixture
async def injector(vault: Vault, sync: Sync) -> AsyncIterator[Injector]:
    async with open_injector(LiveCredentials(sync, lambda: vault.wall), vault.audit()) as made:
        yield made


def header(text: str) -> Inject:
    return Inject(headers=(("X-Text", parse(text)),))


def texts(injected: Injected) -> tuple[bytes, bytes | None]:
    """The newest, and the one before."""
    older = injected.previous
    return injected.newest.headers[0][1], older.headers[0][1] if older is not None else None


async def values(injector: Injector) -> list[str]:
    found = await injector.values(SERVICE, INJECT, None)
    return [value for _, value in found.secrets.pairs]


async def test_a_value_that_was_rotated_away_is_looked_for_for_a_while_and_then_not_kept(
    vault: Vault,
) -> None:
    await vault.write("aa", 1)
    sync = vault.sync()
    await sync.check()
    credentials = LiveCredentials(sync, lambda: vault.wall)
    async with open_injector(credentials, vault.audit(), remembered=0.3) as injector:
        injected = await injector.values(SERVICE, INJECT, None)
        patterns = injected.secrets.patterns
        assert patterns is not None and patterns.replaced(b"<aa-1>") == b"<[redacted:aa]>"
        assert injector.cached(SERVICE, INJECT, None) is injected
        await vault.write("aa", 2, grace=510)
        await sync.check()
        assert injector.cached(SERVICE, INJECT, None) is None
        assert await values(injector) == ["aa-2", "aa-1"]
        vault.wall = 510.0
        assert injector.cached(SERVICE, INJECT, None) is None, "its grace has ended"
        # Servers remember.
        assert await values(injector) == ["aa-2", "aa-1"]
        left = weakref.ref((await injector.values(SERVICE, INJECT, None)).secrets)
        del injected, patterns
        async with asyncio.timeout(10):
            while left() is not None:
                await asyncio.sleep(0.02)
                gc.collect()
        assert await values(injector) == ["aa-2"]


async def test_a_call_looks_for_what_was_put_into_later_ones_at_its_place_and_no_other(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", 1)
    await sync.check()
    early = await injector.values(SERVICE, INJECT, None)
    others = replace(SERVICE, name="other")
    elsewhere = await injector.values(others, INJECT, None)
    users = await injector.values(SERVICE, INJECT, "u1")
    await vault.write("user/u1/aa")
    await sync.check()
    of_user = await injector.values(SERVICE, header("${user.aa.value}"), "u1")
    for number in range(2, 22):
        await vault.write("aa", number)
        await sync.check()
        late = await injector.values(SERVICE, INJECT, None)
        assert {value for _, value in late.call_secrets.own} == {f"aa-{number}"}
    looked_for = [value for _, value in early.secrets.pairs]
    assert looked_for == [*(f"aa-{number}" for number in range(21, 12, -1)), "aa-1"], "its own"
    assert [value for _, value in late.secrets.pairs] == looked_for[:-1]
    assert users.secrets.pairs == early.secrets.pairs, "what is shared is put in for all users"
    told = [value for _, value in elsewhere.secrets.pairs]
    assert told == ["aa-21", "aa-1"], "what another worker puts in there by now"
    assert [value for _, value in of_user.secrets.pairs] == ["user/u1/aa-1"]


async def test_what_a_token_is_fetched_with_is_looked_for_where_it_is_put_in_itself(
    vault: Vault, sync: Sync
) -> None:
    """Its scopes and its URL are words of many texts."""
    fields = {"token_url": "https://idp.test/", "client_id": "client-1", "client_secret": "s" * 20}
    await vault.write("idp", type="oauth2", current=Version(1, {**fields, "scopes": "read"}))
    await sync.check()
    token, own = parse("Bearer ${credentials.idp}"), parse("${credentials.idp.client_id}")
    credentials = LiveCredentials(sync, lambda: vault.wall)
    for text, secrets in ((token, ()), (own, (("idp", "client-1"),))):
        ids = {one: CredentialId(one.name) for one in Inject(headers=(("X", text),)).references}
        changes = ChangedSecrets(credentials, ids, 0)
        assert ids and changes() == secrets
        assert changes() is None, "nothing has changed since"


async def test_what_looks_for_two_that_take_turns_is_made_once(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", 1)
    await vault.write("bb", 1)
    await sync.check()
    inject = header("${credentials.bb}")
    await injector.values(SERVICE, INJECT, None)
    both = (await injector.values(SERVICE, inject, None)).secrets
    for one in (INJECT, inject, INJECT):
        assert (await injector.values(SERVICE, one, None)).secrets is both


async def test_a_place_that_an_open_call_is_of_is_known_however_many_others_there_are(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", 1)
    await sync.check()
    early = await injector.values(SERVICE, INJECT, None)
    for number in range(MOST_CACHED):
        await injector.values(SERVICE, INJECT, f"u{number}")
    assert injector.cached(SERVICE, INJECT, None) is None
    assert injector.cached(SERVICE, INJECT, "u0") is not None
    await vault.write("aa", 2)
    await sync.check()
    await injector.values(SERVICE, INJECT, None)
    assert [value for _, value in early.secrets.pairs] == ["aa-2", "aa-1"]


async def test_what_looks_for_a_value_is_made_once_whatever_else_changes(vault: Vault) -> None:
    """Nor is it made for each call of what may have to be asked for at each use."""
    await vault.write("aa", 1, max_stale=60)
    await vault.write("bb", 1)
    sync = vault.sync()
    await sync.check()
    async with open_injector(LiveCredentials(sync, lambda: vault.wall), vault.audit()) as injector:
        first = (await injector.values(SERVICE, INJECT, None)).secrets
        assert injector.cached(SERVICE, INJECT, None) is None
        await vault.write("bb", 2)
        await sync.check()
        assert (await injector.values(SERVICE, INJECT, None)).secrets is first


async def test_a_text_gets_the_newest_values_and_the_ones_before_while_their_grace_lasts(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", 2, grace=501)
    await vault.write("bb", 7, grace=500)
    await sync.check()
    both = header("x ${credentials.aa} $${y} ${credentials.bb.value}")
    injected = await injector.values(SERVICE, both, None)
    assert texts(injected) == (b"x aa-2 ${y} bb-7", b"x aa-1 ${y} bb-7")
    assert injected.previous is not None
    assert injected.newest.uses == (Named("aa", 2), Named("bb", 7))
    assert injected.previous.uses == (Named("aa", 1), Named("bb", 7))
    assert {value for _, value in injected.secrets.pairs} == {"aa-2", "aa-1", "bb-7"}
    assert "aa-2" not in repr(injected) and "aa-1" not in repr(injected)
    assert texts(await injector.values(SERVICE, header("${credentials.bb}"), None))[1] is None
    blanks_around = await injector.values(SERVICE, header("\t${credentials.bb} "), None)
    assert texts(blanks_around)[0] == b"bb-7"


async def test_what_was_prepared_is_good_for_its_place_policies_credentials_and_grace_alone(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", 2, grace=501)
    await sync.check()
    made = await injector.values(SERVICE, INJECT, None)
    assert injector.cached(SERVICE, INJECT, None) is made
    assert injector.cached(SERVICE, INJECT, "u1") is None
    assert injector.cached(replace(SERVICE, name="erp"), INJECT, None) is None
    assert injector.cached(SERVICE, replace(INJECT), None) is None, "of other policies"
    vault.wall = 501.0
    assert injector.cached(SERVICE, INJECT, None) is None, "the grace has ended"
    vault.wall = 500.0
    assert injector.cached(SERVICE, INJECT, None) is made
    await vault.write("aa", 3)
    await sync.check()
    assert injector.cached(SERVICE, INJECT, None) is None, "it was rotated"


async def test_what_must_be_fresh_is_asked_for_at_each_use_and_never_kept(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa", max_stale=0)
    await sync.check()
    for number in (2, 3):
        vault.now += 1
        await vault.write("aa", number, max_stale=0)
        assert texts(await injector.values(SERVICE, INJECT, None)) == (
            f"aa-{number}".encode(),
            None,
        )
        assert injector.cached(SERVICE, INJECT, None) is None


async def test_a_users_own_credential_is_that_users(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    for name in ("user/u1/github", "user/u2/github", "github"):
        await vault.write(name)
    await sync.check()
    inject = header("${user.github.value}")
    for user in ("u1", "u2"):
        assert (
            texts(await injector.values(SERVICE, inject, user))[0]
            == f"user/{user}/github-1".encode()
        )
    for nobody in (None, "", "u3"):
        with pytest.raises(Denied) as denied:
            await injector.values(SERVICE, inject, nobody)
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE


@pytest.mark.denial("credential_unavailable")
async def test_what_cannot_be_had_is_denied_without_telling_what_it_is(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    await vault.write("aa")
    await vault.write("nope_bait", type="canary")
    await sync.check()
    for name in ("nope", "aa.nope", "nope_bait"):
        with pytest.raises(Denied) as denied:
            await injector.values(SERVICE, header(f"${{credentials.{name}}}"), None)
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE
        assert denied.value.denial.status == 503
        assert "nope" not in str(denied.value)


async def test_what_is_for_pulling_is_put_into_no_call(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    database = Version(1, {"url": "postgresql://u:p@h/d"})
    for name in ("db", "user/u1/db"):
        await vault.write(name, type="database", current=database)
    await sync.check()
    for name in ("credentials.db", "user.db.url"):
        with pytest.raises(Denied) as denied:
            await injector.values(SERVICE, header(f"${{{name}}}"), "u1")
        assert denied.value.code is Code.CREDENTIAL_UNAVAILABLE


WORD, LONG = "elastic", "a-name-that-is-no-word"
CLOUD = {"access_key_id": "AKIA-1", "access_key_secret": 40 * "s", "account_id": 12 * "1"}
WHOLE = Inject(whole=Reference("aa"))
SIGNED = Inject(sign=Sign(Scheme.AWS4, Reference("aa"), "eu-west-1", "s3"))


async def test_no_value_is_in_the_repr_of_what_is_put_in(
    vault: Vault, sync: Sync, injector: Injector
) -> None:
    cloud = Version(2, {name: f"s3cret-{name}" for name in CLOUD})
    await vault.write("aa", 2, type="ak_sk", current=cloud)
    await vault.write("bb", 2, grace=510)
    await sync.check()
    named = (("x-name", parse("${credentials.bb}")),)
    everywhere = Inject(named, named, named, SIGNED.sign, None, named, named)
    injected = await injector.values(SERVICE, everywhere, None)
    assert injected.previous is not None
    shown = repr((injected, injected.secrets, injected.secrets.patterns))
    assert "s3cret" not in shown and "bb-" not in shown


@pytest.mark.parametrize(
    ("kind", "fields", "inject", "passed_on"),
    [
        ("basic", {"username": WORD, "password": "p4ssword"}, WHOLE, {WORD}),
        ("basic", {"username": LONG, "password": "p4ssword"}, WHOLE, set()),
        ("basic", {"username": WORD, "password": "p4ssword"}, None, set()),
        ("ak_sk", CLOUD, SIGNED, {CLOUD["account_id"]}),
        ("ak_sk", CLOUD, None, set()),
    ],
)
async def test_what_comes_along_and_proves_nothing_is_looked_for_where_it_is_no_common_word(
    vault: Vault,
    sync: Sync,
    injector: Injector,
    kind: str,
    fields: dict[str, str],
    inject: Inject | None,
    passed_on: set[str],
) -> None:
    """What is put in by its name, and what proves anything, always."""
    await vault.write("aa", type=kind, current=Version(1, fields))
    await sync.check()
    if inject is None:
        inject = header(" ".join(f"${{credentials.aa.{name}}}" for name in fields))
    found = await injector.values(SERVICE, inject, None)
    looked_for = {value for _, value in found.secrets.pairs}
    assert set(fields.values()) - looked_for == passed_on


@pytest.mark.parametrize(
    ("kind", "fields", "looked_for"),
    [
        (
            "headers",
            {"Authorization": "Bearer tok-abcdefgh", "Cookie": 'lang=en; sid="s3cret-id="; a=b'},
            {"tok-abcdefgh", "s3cret-id="},
        ),
        ("headers", {"Cookie": "sid=12345678", "X-Cookie": "sid=87654321"}, {"12345678"}),
        ("headers", {"authorization": "Token short", "X-Key": "Basic  YTpwNA=="}, {"YTpwNA=="}),
        ("api_key", {"value": "ApiKey abcd-efgh"}, {"abcd-efgh"}),
        ("api_key", {"value": " ApiKey abcd-efgh\t"}, {"abcd-efgh"}),
        ("api_key", {"value": "three words altogether"}, set()),
    ],
)
async def test_what_proves_as_much_as_a_whole_header_is_looked_for_alone(
    vault: Vault,
    sync: Sync,
    injector: Injector,
    kind: str,
    fields: dict[str, str],
    looked_for: set[str],
) -> None:
    await vault.write("aa", type=kind, current=Version(1, fields))
    await sync.check()
    found = await injector.values(SERVICE, WHOLE, None)
    assert {value for _, value in found.secrets.pairs} == {*fields.values(), *looked_for}
