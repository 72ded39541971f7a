"""Policies that name credentials: what is not there is said with its place, and in time."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from gateway.domain.credentials import Version
from gateway.domain.policies.references import Reference
from gateway.domain.policies.services import SENT_WHOLE
from gateway.domain.settings import StoreSettings
from gateway.services.credentials.current import LiveCredentials
from gateway.store.embedded.process import answers
from tests.cli.commands import MASTER, OTHER_MASTER, PEPPER, VaultCommands
from tests.cli.serving import PATIENCE, refused, serving
from tests.services.vaults import Vault, problem_of

GOOD = "version: 1\nagents:\n  a:\n    upstream: http://127.0.0.1:9\n    routes:\n"
MENTIONS = GOOD + '      - {path: "/x/${credentials.crm}"}\n'
MISSING = (
    MENTIONS
    + '      - {path: "/y/${credentials.nope}"}\n      - {path: "/z/${credentials.crm.no}"}\n'
)
SENSELESS = MENTIONS + '      - {path: "/y/${credential.crm}"}\n'
LOCAL = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}


@pytest.fixture
async def vault(client: Redis) -> Vault:
    made = Vault(client)
    await made.write("crm")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    return tmp_path


@pytest.fixture
def settings(store: StoreSettings) -> dict[str, str]:
    return {
        **LOCAL,
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": PEPPER,
        "GATEWAY_MASTER_KEY": MASTER,
        "GATEWAY_CREDENTIAL_POLL": "30s",
    }


def write(folder: Path, text: str) -> None:
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / "policies" / "a.yaml")


async def check(folder: Path, store: StoreSettings, **more: str) -> tuple[int, str]:
    ended = await asyncio.to_thread(VaultCommands(store, folder).gateway, "policy", "check", **more)
    return ended.code, ended.out


async def test_the_check_names_every_reference_that_means_nothing(
    folder: Path, store: StoreSettings, vault: Vault
) -> None:
    write(folder, MENTIONS)
    assert (await check(folder, store))[0] == 0
    write(folder, MISSING)
    code, said = await check(folder, store)
    file = folder / "policies" / "a.yaml"
    assert code == 1
    assert said.splitlines() == [
        f"{file}:7:16: there is no credential 'nope': 'gateway credentials set nope' makes one",
        f"{file}:8:16: the credential 'crm' has no field 'no'",
    ]
    assert (await check(folder, store, GATEWAY_REDIS_URL="redis://127.0.0.1:1"))[0] == 0
    other = await check(folder, store, GATEWAY_MASTER_KEY=OTHER_MASTER)
    assert other[0] == 1 and "'nope'" in other[1] and "'no'" not in other[1]
    write(folder, SENSELESS)
    code, said = await check(folder, store, GATEWAY_REDIS_URL="redis://127.0.0.1:1")
    assert code == 1 and f"{file}:7:16: this is no reference" in said


async def test_the_check_shows_at_once_what_is_wrong_with_files_hooks_and_references(
    folder: Path, store: StoreSettings, vault: Vault
) -> None:
    hooks = "hooks: {before: ['nowhere.hooks:look']}"
    write(
        folder,
        MISSING
        + "plans: {p: {rate: 1/week}}\n"
        + f"tools: {{t: {{transport: http, upstream: 'http://127.0.0.1:9', {hooks}}}}}\n",
    )
    file = folder / "policies" / "a.yaml"
    (file.parent / "b.yaml").write_text("nothing: [\n")
    code, said = await check(folder, store)
    assert code == 1
    found = [line.removeprefix(f"{file.parent}/") for line in said.splitlines()]
    assert [line.split(": ", 1)[0] for line in found] == [
        "a.yaml:7:16",
        "a.yaml:8:16",
        "a.yaml:9:19",
        "a.yaml:10:9",
        "b.yaml:2:1",
    ]
    assert "no credential 'nope'" in found[0] and "hook 'nowhere.hooks:look'" in found[3]


async def test_the_check_says_of_a_credential_what_a_gateway_would(
    folder: Path, store: StoreSettings, vault: Vault
) -> None:
    login = Version(1, {"username": "u", "password": "p"})
    await vault.write("login", type="basic", current=login)
    await vault.write("loose", type="custom")
    await vault.write("bait", type="canary")
    names = ("login", "loose", "bait")
    write(
        folder,
        "version: 1\nservices:\n"
        + "".join(
            f"  {name}: {{upstream: 'http://127.0.0.1:9', "
            f"inject: {{credential: '${{credentials.{name}}}'}}}}\n"
            for name in names
        ),
    )
    credentials = LiveCredentials(vault.sync(), lambda: 0.0)
    await credentials.check()
    live = [problem_of(credentials, Reference(name), SENT_WHOLE) for name in names]
    code, said = await check(folder, store)
    assert live == [
        "",
        "a credential of type custom cannot be sent as a whole",
        "the credential 'bait' is a decoy and put into no call: name another",
    ]
    assert code == 1
    assert [line.split(": ", 1)[1] for line in said.splitlines()] == live[1:]


EXPLAINED = """\
version: 1
services:
  crm: {upstream: "http://127.0.0.1:9", inject: {credential: "${credentials.crm}"}}
  gone: {upstream: "http://127.0.0.1:9", inject: {credential: "${credentials.gone}"}}
  bait: {upstream: "http://127.0.0.1:9", inject: {credential: "${credentials.bait}"}}
  own: {upstream: "http://127.0.0.1:9", inject: {credential: "${user.own}"}}
models:
  - {name: gpt-4, credential: "${credentials.gone}", fallback: [gpt-5]}
  - {name: gpt-5, upstream: "https://five.test", credential: "${credentials.crm}"}
"""


@pytest.mark.parametrize(
    ("words", "refused", "told"),
    [
        ("--url /services/crm/x", False, "Forwarded to http://127.0.0.1:9/x"),
        ("--url /services/gone/x", True, "needs the credential 'gone', which is missing"),
        ("--url /services/bait/x", True, "needs the credential 'bait', which is missing"),
        ("--url /services/own/x --user ann", False, "Forwarded to"),
        (
            "--url /services/own/x --user bob",
            True,
            "credential 'own' of user 'bob', which is missi",
        ),
        ("--url /services/own/x", True, "name the user in X-User-Id"),
        ("--url /models/v1/responses --model gpt-4", False, "to https://five.test/responses"),
    ],
)
async def test_an_explanation_looks_whether_the_credentials_are_there(
    folder: Path, store: StoreSettings, vault: Vault, words: str, *, refused: bool, told: str
) -> None:
    await vault.write("bait", type="canary")
    await vault.write("user/ann/own")
    write(folder, EXPLAINED)
    commands = VaultCommands(store, folder)
    scopes = ("services/*", "--scope", "models/*", "--users", "*")
    key = commands.gateway("keys", "create", "--consumer", "x", "--json", "--scope", *scopes).json
    asked = ("policy", "explain", "--key", key["id"], *words.split())
    out = commands.gateway(*asked).out.splitlines()[-1]
    assert out.startswith("Refused: 503 credential_unavailable") is refused and told in out
    away = commands.gateway(*asked, GATEWAY_VAULT_REDIS_URL="redis://127.0.0.1:1").out
    assert ("they can be used is not known here: Redis" in away) is ("in X-User-Id" not in told)


async def test_an_explanation_takes_no_credential_for_good_that_it_cannot_open(
    folder: Path, store: StoreSettings, vault: Vault, client: Redis
) -> None:
    write(folder, EXPLAINED)
    commands = VaultCommands(store, folder)
    scopes = ("--scope", "services/*")
    key = commands.gateway("keys", "create", "--consumer", "x", "--json", *scopes).json["id"]
    asked = ("policy", "explain", "--key", key, "--url", "/services/crm/x")
    here = "whether they can be used is not known here: Credential 'crm' is refused: "
    assert here not in commands.gateway(*asked).out
    closed = commands.gateway(*asked, GATEWAY_MASTER_KEY=OTHER_MASTER).out
    assert f"{here}it was encrypted with the master key" in closed
    (record,) = await client.keys("*item:crm")
    await client.delete(record)
    lost = commands.gateway(*asked).out
    assert f"{here}its record in Redis is gone" in lost and "Forwarded to" in lost


def test_a_check_without_a_vault_says_that_references_were_not_looked_up(
    folder: Path, store: StoreSettings
) -> None:
    commands = VaultCommands(store, folder)
    for text, told in ((MISSING, True), (GOOD + "      - {path: /x}\n", False)):
        write(folder, text)
        ended = commands.gateway("policy", "check", "--json", GATEWAY_REDIS_URL="")
        assert ended.code == 0
        assert ("The credentials were not checked" in ended.said) is told
        assert ended.json["unchecked"] == (["credentials", "keys"] if told else ["keys"])


def test_a_look_finds_the_embedded_store_that_does_not_run_and_makes_none(
    folder: Path, store: StoreSettings
) -> None:
    with TemporaryDirectory() as state:
        own = {"GATEWAY_REDIS_URL": "", "GATEWAY_STATE_DIR": f"{state}/own"}
        commands = VaultCommands(store, folder)
        write(folder, MISSING)
        assert commands.gateway("policy", "check", **own).code == 0
        assert not list(Path(state).iterdir())
        key = ("--consumer", "sales", "--scope", "agents/*", "--plan", "")
        assert commands.gateway("keys", "create", *key, **own).code == 0
        assert commands("set", "crm", "--type", "api_key", value="secret-1", **own).code == 0
        checked = commands.gateway("policy", "check", **own)
        assert checked.code == 1 and "'nope'" in checked.out and "'crm' has no" in checked.out
        assert not answers(Path(state) / "own" / "store.sock")
        told = commands.gateway("policy", "diff", "-", "-", **own)
        assert "Active keys: 1;" in told.out and not told.said


async def test_a_gateway_does_not_start_with_them(
    folder: Path, settings: dict[str, str], vault: Vault
) -> None:
    write(folder, MISSING)
    code, said = await refused("serve", folder=folder, settings=settings)
    assert code == 1 and "a.yaml:7:16: there is no credential 'nope'" in said
    assert "Traceback" not in said


async def test_a_reload_with_them_leaves_the_last_good_set_in_force_until_they_are_there(
    folder: Path, settings: dict[str, str], vault: Vault
) -> None:
    write(folder, MENTIONS)
    async with serving(folder=folder, settings=settings) as gateway:
        write(folder, GOOD + '      - {path: "/y/${credentials.later}"}\n')
        problem = await gateway.event("policy_problem")
        assert problem["place"].endswith("a.yaml:6:16")
        assert problem["message"].startswith("there is no credential 'later': ")
        await vault.write("later")
        write(folder, GOOD + '      - {path: "/y/${credentials.later}"}\n      - {path: /z}\n')
        async with asyncio.timeout(PATIENCE):
            await gateway.event("policies_loaded")


async def test_a_gateway_with_the_wrong_master_key_says_so_in_one_sentence_and_ends(
    folder: Path, settings: dict[str, str], vault: Vault, client: Redis
) -> None:
    write(folder, GOOD + "      - {path: /x}\n")
    before = {name: await client.get(name) for name in await client.keys("*item:*")}
    for master, code in ((OTHER_MASTER, 1), (MASTER + "x", 2)):
        wrong = {**settings, "GATEWAY_MASTER_KEY": master}
        ended, said = await refused("serve", folder=folder, settings=wrong)
        assert ended == code
        *logged, sentence = said.splitlines()
        assert sentence.startswith("gateway: ") and "aster" not in "".join(logged), said
        assert master not in said
    assert before == {name: await client.get(name) for name in await client.keys("*item:*")}


async def test_in_production_no_master_key_is_made(
    folder: Path, settings: dict[str, str], vault: Vault
) -> None:
    """Beyond loopback a gateway that needs one ends with a sentence."""
    write(folder, MENTIONS)
    exposed = {**settings, "GATEWAY_LISTEN": "0.0.0.0:0", "GATEWAY_MASTER_KEY": ""}
    code, said = await refused("serve", folder=folder, settings=exposed)
    assert code == 2 and "GATEWAY_MASTER_KEY_FILE" in said
    assert not list(folder.rglob("master-key"))
    again, said = await refused(
        "serve", folder=folder, settings={**settings, "GATEWAY_MASTER_KEY": ""}
    )
    assert again == 1 and len(list(folder.rglob("master-key"))) == 1 and "development" in said
