"""`gateway serve`: what it can be told, and what it refuses before it serves."""

import asyncio
import resource
import signal
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import click
import pytest
from redis.asyncio import Redis

from gateway.app.system import MOST_FILES
from gateway.cli.serve import serve
from gateway.domain.settings import StoreSettings
from gateway.domain.workers import crowding, most_workers
from gateway.store.embedded.process import answers
from gateway.store.embedded.server import embedded
from gateway.store.state_dir import socket_path
from tests.cli.commands import OTHER_MASTER, PEPPER, Commands, VaultCommands
from tests.cli.serving import PATIENCE, Served, refused, serving, start

POLICIES = "version: 1\nagents: {a: {upstream: 'http://127.0.0.1:9'}}\n"
FREE = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}

# Of each setting a flag that works, and a variable that would keep the gateway from starting.
SETTINGS = {
    "--listen": ("127.0.0.1:0", "GATEWAY_LISTEN", "nowhere", 2),
    "--admin-listen": ("127.0.0.1:0", "GATEWAY_ADMIN_LISTEN", "nowhere", 2),
    "--redis": ("{redis}", "GATEWAY_REDIS_URL", "http://127.0.0.1", 2),
    "--policies": ("policies", "GATEWAY_POLICIES", "missing", 1),
    "--state-dir": ("state", "GATEWAY_STATE_DIR", "policies/a.yaml", 2),
    "--workers": ("1", "GATEWAY_WORKERS", "0", 2),
    "--drain": ("1s", "GATEWAY_DRAIN", "soon", 2),
    "--head-timeout": ("5s", "GATEWAY_HEAD_TIMEOUT", "soon", 2),
    "--body-timeout": ("5s", "GATEWAY_BODY_TIMEOUT", "soon", 2),
    "--keep-alive": ("5s", "GATEWAY_KEEP_ALIVE", "soon", 2),
    "--send-timeout": ("5s", "GATEWAY_SEND_TIMEOUT", "soon", 2),
    "--max-url": ("4KB", "GATEWAY_MAX_URL", "0", 2),
    "--max-header": ("4KB", "GATEWAY_MAX_HEADER", "long", 2),
    "--max-headers": ("50", "GATEWAY_MAX_HEADERS", "0", 2),
    "--body-rate": ("1KB", "GATEWAY_BODY_RATE", "0", 2),
    "--max-message": ("1MB", "GATEWAY_MAX_MESSAGE", "large", 2),
    "--max-connections": ("50", "GATEWAY_MAX_CONNECTIONS", "many", 2),
    "--log-format": ("json", "GATEWAY_LOG_FORMAT", "loud", 2),
    "--log-level": ("info", "GATEWAY_LOG_LEVEL", "loud", 2),
}
# These need files, or mean nothing alone.
OTHERS = {"--embedded", "--tls-cert", "--tls-key"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(POLICIES)
    return tmp_path


@pytest.fixture
def settings(store: StoreSettings) -> dict[str, str]:
    return {"GATEWAY_REDIS_URL": store.url or "", "GATEWAY_PEPPER": PEPPER}


def one_sentence(said: str) -> bool:
    return said.startswith("gateway: ") and said.count("\n") == 1


def test_every_flag_has_its_variable() -> None:
    for option in serve.params:
        if isinstance(option, click.Option) and option.hidden:
            continue
        flag = option.opts[0]
        wanted = {"--redis": "GATEWAY_REDIS_URL"}.get(
            flag, "GATEWAY_" + flag[2:].upper().replace("-", "_")
        )
        assert option.envvar == wanted
    assert {option.opts[0] for option in serve.params} >= SETTINGS.keys() | OTHERS


@pytest.mark.parametrize("flag", SETTINGS)
async def test_a_setting_is_read_from_the_environment(
    flag: str, folder: Path, settings: dict[str, str]
) -> None:
    _, variable, bad, code = SETTINGS[flag]
    with_bad = {**FREE, **settings, variable: bad}
    ended, said = await refused("serve", folder=folder, settings=with_bad)
    assert ended == code
    assert one_sentence(said) or "cannot be used" in said


async def test_a_flag_wins_over_its_variable(folder: Path, settings: dict[str, str]) -> None:
    """Each of these variables alone would keep the gateway from starting."""
    flags = [word for flag, (good, *_) in SETTINGS.items() for word in (flag, good)]
    flags[flags.index("{redis}")] = settings["GATEWAY_REDIS_URL"]
    bad = {variable: bad for _, variable, bad, _ in SETTINGS.values()}
    async with serving(*flags, folder=folder, settings={**settings, **bad}) as gateway:
        assert (await gateway.get("/readyz")).status == 200


async def test_the_drain_that_was_set_is_the_one_in_force(
    folder: Path, settings: dict[str, str]
) -> None:
    async with serving(folder=folder, settings={**settings, "GATEWAY_DRAIN": "90s"}) as gateway:
        gateway.stop()
        assert (await gateway.event("draining"))["seconds"] == 90


async def test_what_kubernetes_injects_is_ignored(folder: Path, settings: dict[str, str]) -> None:
    injected = {
        "GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "GATEWAY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT": "8080",
    }
    async with serving(folder=folder, settings={**settings, **injected}) as gateway:
        assert (await gateway.get("/readyz")).status == 200


@pytest.mark.parametrize(
    ("flag", "number"),
    [("--workers", "0"), ("--workers", "-1"), ("--tool-uids", "\u00b2-5")],
)
async def test_a_number_that_makes_no_sense_is_refused(
    flag: str, number: str, folder: Path, settings: dict[str, str]
) -> None:
    code, said = await refused("serve", flag, number, folder=folder, settings=settings)
    assert code == 2
    assert one_sentence(said)


async def test_more_workers_than_a_machine_carries_are_refused(
    folder: Path, settings: dict[str, str]
) -> None:
    code, said = await refused("serve", "--workers", "100000", folder=folder, settings=settings)
    assert code == 2
    assert one_sentence(said) and "at most" in said and "two a core" in said
    assert (most_workers(1), most_workers(16), most_workers(96)) == (64, 64, 384)
    assert crowding(8, 2) == "" and "9 workers on 2 cores" in crowding(9, 2)


@pytest.mark.parametrize("prefix", ["x" * 65, "{x}:", "a b:"])
async def test_a_prefix_that_redis_names_may_not_have_is_refused(
    folder: Path, settings: dict[str, str], prefix: str
) -> None:
    code, said = await refused(
        "serve", folder=folder, settings=settings | {"GATEWAY_REDIS_PREFIX": prefix}
    )
    assert code == 2
    assert one_sentence(said) and "GATEWAY_REDIS_PREFIX takes at most 64" in said


async def test_a_time_in_which_redis_cannot_answer_is_refused(
    folder: Path, settings: dict[str, str]
) -> None:
    settings |= {"GATEWAY_REDIS_TIMEOUT": "0s"}
    code, said = await refused("serve", folder=folder, settings=settings)
    assert code == 2
    assert one_sentence(said) and "GATEWAY_REDIS_TIMEOUT" in said


async def test_without_a_redis_it_starts_its_own_and_tells_how_to_reach_it(folder: Path) -> None:
    with TemporaryDirectory() as state:
        async with serving("--state-dir", state, folder=folder) as gateway:
            told = next(event for event in gateway.events if event["event"] == "embedded_store")
            assert told["directory"] == state
            assert told["reach"] == f"redis-cli -s {state}/store.sock"
            assert answers(socket_path(Path(state)))
            assert (await gateway.get("/readyz")).status == 200
            gateway.stop()
            assert await gateway.ends() == 0
        assert not answers(socket_path(Path(state)))


async def test_a_crashed_store_costs_a_moment_and_no_restart(folder: Path) -> None:
    async with serving(folder=folder) as gateway:
        await gateway.get("/readyz")
        store = folder / ".gateway" / "store.sock"
        await crash(store)
        await gateway.event("embedded_store_restarted")
        async with asyncio.timeout(PATIENCE):
            while (await gateway.get("/readyz")).status != 200:
                await asyncio.sleep(0.05)


async def crash(store: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(store)
    writer.write(b"SHUTDOWN NOSAVE\r\n")
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "listeners",
    [
        ("--listen", "0.0.0.0:0"),
        ("--listen", "[::]:0"),
        ("--listen", "gateway.example.com:0"),
        ("--admin-listen", "0.0.0.0:0"),
    ],
)
async def test_beyond_loopback_neither_an_embedded_store_nor_made_keys_are_used(
    listeners: tuple[str, str], folder: Path
) -> None:
    code, said = await refused(
        "serve", *listeners, folder=folder, settings={**FREE, "GATEWAY_PEPPER": PEPPER}
    )
    assert code == 2
    assert one_sentence(said)
    assert "--redis" in said
    assert "--embedded" in said
    assert not (folder / ".gateway").exists(), "a pepper was made before it was refused"


@pytest.mark.parametrize("by", ["flag", "variable"])
async def test_embedded_says_that_it_is_meant(by: str, folder: Path) -> None:
    arguments = ["--listen", "0.0.0.0:0", *(["--embedded"] if by == "flag" else [])]
    settings = {"GATEWAY_EMBEDDED": "true"} if by == "variable" else {}
    async with serving(*arguments, folder=folder, settings=settings) as gateway:
        gateway.data = ("127.0.0.1", gateway.data[1])
        assert (await gateway.get("/readyz")).status == 200
        assert (folder / ".gateway" / "pepper").exists()


@pytest.mark.parametrize(
    ("address", "workers", "times"),
    [("0.0.0.0:0", "1", 1), ("0.0.0.0:0", "2", 1), ("127.0.0.1:0", "1", 0)],
)
async def test_operators_in_clear_beyond_loopback_are_told_of_once(
    address: str, workers: str, times: int, folder: Path, settings: dict[str, str]
) -> None:
    listening = ("--admin-listen", address, "--workers", workers)
    async with serving(*listening, folder=folder, settings=settings) as gateway:
        gateway.stop()
        assert await gateway.ends() == 0
        told = [one for one in gateway.events if one["event"] == "admin_in_clear"]
    assert len(told) == times
    assert all("--tls-cert" in one["reason"] for one in told)


async def test_with_a_redis_given_no_key_is_made(folder: Path, settings: dict[str, str]) -> None:
    del settings["GATEWAY_PEPPER"]
    async with serving("--listen", "0.0.0.0:0", folder=folder, settings=settings) as gateway:
        gateway.data = ("127.0.0.1", gateway.data[1])
        assert (await gateway.get("/readyz")).status == 200
    assert not (folder / ".gateway").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_beyond_loopback_a_key_that_was_made_opens_no_vault(
    workers: str, store: StoreSettings, folder: Path, settings: dict[str, str]
) -> None:
    made = VaultCommands(store, folder, master="")("set", "crm", "--type", "api_key", value="v")
    assert made.code == 0
    listening = ("--listen", "0.0.0.0:0", "--workers", workers)
    code, said = await refused("serve", *listening, folder=folder, settings={**FREE, **settings})
    assert code == 2
    assert one_sentence(said.splitlines(keepends=True)[-1])
    assert "GATEWAY_MASTER_KEY_FILE" in said
    assert "--embedded" in said


async def test_with_a_master_key_that_opens_nothing_it_does_not_start(
    store: StoreSettings, folder: Path, settings: dict[str, str], client: Redis
) -> None:
    VaultCommands(store, folder).set("crm", "v")
    names = sorted(await client.keys("gw:cred:*"))
    before = [await client.dump(name) for name in names]
    given = {**FREE, **settings, "GATEWAY_MASTER_KEY": OTHER_MASTER}
    code, said = await refused("serve", folder=folder, settings=given)
    assert code == 1
    assert one_sentence(said.splitlines(keepends=True)[-1])
    assert "GATEWAY_MASTER_KEY_FILE" in said
    assert sorted(await client.keys("gw:cred:*")) == names
    assert [await client.dump(name) for name in names] == before


async def test_links_for_users_begin_where_users_reach_the_gateway(
    store: StoreSettings, folder: Path, settings: dict[str, str]
) -> None:
    key = Commands(store, folder).create("--scope", "gateway/credentials-write")
    given = {**FREE, **settings, "GATEWAY_URL": "https://agents.example.com/"}
    async with (
        serving(folder=folder, settings=given) as gateway,
        aiohttp.ClientSession(headers={"X-API-Key": key.text}) as session,
    ):
        links = "http://{}:{}/admin/v1/users/ann/links".format(*gateway.admin)
        async with session.post(links, json={"credentials": ["github"]}) as answer:
            told = await answer.json()
    assert told["url"] == f"https://agents.example.com{told['path']}"
    wrong = {**given, "GATEWAY_URL": "agents.example.com"}
    code, said = await refused("serve", folder=folder, settings=wrong)
    assert code == 2 and "GATEWAY_URL" in said


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
async def test_a_taken_port_is_told_in_one_sentence(
    flag: str, folder: Path, settings: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, said = await refused(
            "serve", flag, address, folder=folder, settings={**FREE, **settings}
        )
    assert code == 1
    assert f"gateway: Cannot listen on {address}: Address already in use." in said
    assert said.endswith(" See --listen and --admin-listen.\n")
    assert "Traceback" not in said


async def test_bad_policies_at_the_first_start_end_it_with_every_mistake(
    folder: Path, settings: dict[str, str]
) -> None:
    (folder / "policies" / "b.yaml").write_text("version: 1\nplans:\n  p: {rate: fast, brust: 2}\n")
    code, said = await refused("serve", folder=folder, settings={**FREE, **settings})
    assert code == 1
    assert "policies/b.yaml:3:13: " in said
    assert "policies/b.yaml:3:19: " in said


async def test_a_redis_that_comes_later_is_waited_for(folder: Path) -> None:
    with TemporaryDirectory() as state:
        url = f"unix://{state}/store.sock"
        async with serving("--redis", url, folder=folder) as gateway:
            waiting = await gateway.get("/readyz")
            assert (waiting.status, waiting.json["missing"]) == (503, ["store"])
            assert (await gateway.get("/livez")).status == 200
            async with embedded(Path(state)), asyncio.timeout(PATIENCE):
                while (await gateway.get("/readyz")).status != 200:
                    await asyncio.sleep(0.05)


async def test_sighup_reloads_the_policies(folder: Path, settings: dict[str, str]) -> None:
    async with serving(folder=folder, settings=settings) as gateway:
        gateway.stop(signal.SIGHUP)
        assert (await gateway.event("policies_loaded"))["reason"] == "SIGHUP"
        assert (await gateway.get("/readyz")).status == 200


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
async def test_a_signal_that_comes_while_it_starts_does_not_end_it(
    folder: Path, workers: str, number: signal.Signals
) -> None:
    """systemd takes an end by SIGHUP for one that was wanted, and starts nothing anew."""
    settings = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    process = await start("serve", "--workers", workers, folder=folder, settings=settings)
    starting = Served(process)
    try:
        await starting.event("embedded_store")
        starting.stop(number)
        await starting.event("listening")
    finally:
        starting.stop()
        assert await starting.ends() == 0


async def test_a_rolling_restart_of_a_single_process_is_refused_and_it_serves_on(
    folder: Path, settings: dict[str, str]
) -> None:
    async with serving(folder=folder, settings=settings) as gateway:
        gateway.stop(signal.SIGUSR2)
        assert "restart it" in (await gateway.event("rolling_restart_refused"))["reason"]
        assert (await gateway.get("/readyz")).status == 200


async def test_each_listener_serves_its_own_and_nothing_of_the_other(
    folder: Path, settings: dict[str, str]
) -> None:
    async with serving(folder=folder, settings=settings) as gateway:
        for path in ("/", "/admin/v1", "/agents/a/", "/readyz", "/connect/x"):
            answer = await gateway.get(path, admin=True)
            assert answer.status == 404, path
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert (await gateway.get("/admin/v1/keys", admin=True)).status == 401
        assert b'name="key"' in (await gateway.get("/console/", admin=True)).body
        for path in ("/metrics", "/admin/v1/keys", "/console/"):
            answer = await gateway.get(path)
            assert (answer.status, answer.code) == (401, "key_missing"), path


async def test_text_is_for_people(folder: Path, settings: dict[str, str]) -> None:
    process = await start(
        *("serve", "--log-format", "text"), folder=folder, settings={**FREE, **settings}
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while "listening" not in (line := (await process.stderr.readline()).decode()):
                assert line
        assert "data=127.0.0.1:" in line
        assert "{" not in line
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_another_login_for_operators_needs_a_redis_that_has_logins(folder: Path) -> None:
    secret = "redis://control:s3cret-of-operators@127.0.0.1:1/0"
    settings = {**FREE, "GATEWAY_ADMIN_REDIS_URL": secret}
    code, said = await refused("serve", folder=folder, settings=settings)
    assert (code, one_sentence(said.splitlines(keepends=True)[-1])) == (2, True)
    assert "GATEWAY_ADMIN_REDIS_URL" in said
    assert "s3cret" not in said


async def test_a_gateway_takes_all_the_files_that_it_may_have(
    folder: Path, settings: dict[str, str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, most), hard))
    try:
        started = serving("--policies", "policies", folder=folder, settings=settings, anew=True)
        async with started as served:
            has = resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert has == (most, hard)
