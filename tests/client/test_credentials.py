"""The agents' library, against a real gateway."""

import asyncio
import copy
import json
import logging
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import gateway.client
from gateway.client import (
    Credentials,
    RefusedError,
    SourceError,
    SyncCredentials,
    UnavailableError,
)
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.keys.key import compose
from tests.client.agents import NAMES, PATIENCE, Pulling, has
from tests.flows.world import listening
from tests.until import until

URL = "http://127.0.0.1:1"
KEY = compose("live", "a" * 12, "b" * 32).text

FORBIDDEN = ("redis", "argon2", "pydantic", "cryptography", "structlog", "uvloop", "click", "yaml")


async def test_a_secret_is_always_the_newest(pulling: Pulling) -> None:
    changed: list[str] = []
    async with pulling.credentials(on_change=changed.append) as credentials:
        secret = credentials["openai_key"]
        assert secret.reveal() == "openai_key-1" == credentials["openai_key"].field("value")
        assert changed == ["crm", "openai_key"]
        began = time.monotonic()
        await pulling.vault.write("openai_key", 2)
        await until(lambda: secret.reveal() == "openai_key-2")
        assert time.monotonic() - began < 5
        assert changed == ["crm", "openai_key", "openai_key"] and secret.version == 2
        assert credentials["crm"].reveal() == "crm-1"


async def test_an_agent_takes_what_is_rotated_after_a_backup_was_restored(
    pulling: Pulling,
) -> None:
    await pulling.vault.write("crm", 4, created_at=1000, rotated_at=4000)
    await until(lambda: _known(pulling).current.number == 4)
    async with pulling.credentials() as credentials:
        assert credentials["crm"].version == 4
        await pulling.vault.write("crm", 2, created_at=1000, rotated_at=5000)
        await until(lambda: credentials["crm"].version == 2)


@pytest.mark.parametrize("poll", [30.0, 86_400.0])
async def test_a_change_arrives_long_before_the_next_poll(poll: float, pulling: Pulling) -> None:
    async with pulling.credentials(poll=poll) as credentials:
        await asyncio.sleep(0.1)
        for version in (2, 3, 4):
            await pulling.vault.write("crm", version)
            began = time.monotonic()
            await until(lambda version=version: credentials["crm"].version == version)  # type: ignore[misc]
            assert time.monotonic() - began < 10, "the poll is held open"
        await asyncio.sleep(1.0)
        assert credentials.last_error == ""


async def test_several_fields_are_asked_for_by_name(pulling: Pulling) -> None:
    fields = {"username": "u", "password": "p"}
    basic = Credential(CredentialId("crm"), "basic", Version(2, fields))
    before = await pulling.vault.store.get(basic.id)
    assert await pulling.vault.store.put(basic.id, pulling.vault.envelope.seal(basic), before)
    await until(lambda: _known(pulling).type == "basic")
    async with pulling.credentials() as credentials:
        secret = credentials["crm"]
        assert (secret.field("username"), secret.field("password")) == ("u", "p")
        assert sorted(secret.fields) == ["password", "username"] and secret.type == "basic"
        with pytest.raises(UnavailableError, match=r"no main value: .* fields, password, username"):
            secret.reveal()
        with pytest.raises(UnavailableError, match="no field 'nope'"):
            secret.field("nope")
        fields = Version(3, {"login": "u", "token": "t"})
        await pulling.vault.write("crm", 3, type="custom", current=fields)
        await until(lambda: secret.type == "custom")
        with pytest.raises(UnavailableError, match=r"no main value: .* fields, login, token"):
            secret.reveal()


def test_one_name_that_is_no_list_is_refused_with_the_list_that_was_meant() -> None:
    for wants in (Credentials, SyncCredentials):
        with pytest.raises(ValueError, match=r"names=\['openai_key'\]"):
            wants("http://127.0.0.1:1", "key", names="openai_key")


def _known(pulling: Pulling) -> Credential:
    return pulling.world.gateways[0].base.credentials.known[CredentialId("crm")]


async def test_a_secret_shows_nowhere_by_itself(
    pulling: Pulling, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with pulling.credentials() as credentials:
        secret = credentials["crm"]
        shown = (
            f"{secret}{secret!r}{secret!s}{secret:>20}{credentials!r}{[secret]}{vars(credentials)}"
        )
        await pulling.vault.write("crm", 2)
        await until(lambda: secret.version == 2)
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(secret)
        with pytest.raises(TypeError):
            json.dumps(secret)
        assert not hasattr(secret, "__dict__")
    assert "crm-1" not in shown and "crm-" not in caplog.text
    assert pulling.key not in caplog.text + repr(credentials)


async def test_a_key_that_may_not_is_told_so_at_once(pulling: Pulling) -> None:
    began = time.monotonic()
    with pytest.raises(RefusedError, match="gateway/credentials:other") as refused:
        async with pulling.credentials("crm", "other", wait=30.0):
            pass
    with pytest.raises(RefusedError, match="key_invalid"):
        async with Credentials(pulling.url, "agk_live_nonsense", NAMES):
            pass
    assert time.monotonic() - began < 10
    assert pulling.key not in str(refused.value)


async def test_a_credential_that_is_not_there_holds_up_no_other(pulling: Pulling) -> None:
    await pulling.vault.delete("crm")
    await until(lambda: CredentialId("crm") not in pulling.world.gateways[0].base.credentials.known)
    async with pulling.credentials() as credentials:
        assert credentials["openai_key"].reveal() == "openai_key-1"
        with pytest.raises(UnavailableError, match="no credential 'crm'"):
            credentials["crm"]
        await pulling.vault.write("crm", 2)
        await until(lambda: has(credentials, "crm"))
        with pytest.raises(KeyError, match="not among the names"):
            credentials["other"]
        assert list(credentials) == list(NAMES) and len(credentials) == 2 and "crm" in credentials


async def test_values_serve_on_while_the_gateway_is_away(pulling: Pulling) -> None:
    await pulling.vault.write("crm", 2, max_stale=2)
    await until(
        lambda: pulling.world.gateways[0].base.credentials.known[CredentialId("crm")].max_stale == 2
    )
    async with pulling.credentials(poll=0.5) as credentials:
        assert credentials["crm"].version == 2
        await pulling.world.gateways[0].drain(0.0)
        await until(lambda: credentials.last_error != "")
        assert credentials["openai_key"].reveal() == "openai_key-1"
        await until(lambda: not has(credentials, "crm"))
        assert credentials.age > 2
        assert credentials["openai_key"].reveal() == "openai_key-1"


async def test_where_no_gateway_is_entry_tries_for_as_long_as_it_was_told() -> None:
    began = time.monotonic()
    with pytest.raises(SourceError, match="cannot be asked"):
        async with Credentials("http://127.0.0.1:1", "agk_x", ["crm"], wait=1.2):
            pass
    assert 1.0 < time.monotonic() - began < 8


GOOD = {"name": "openai_key", "type": "api_key", "version": 1, "fields": {"value": "good"}}


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of what answers every request in place of a gateway."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with listening(app) as port:
        yield f"http://127.0.0.1:{port}/"


def credentials_of(*told: dict[str, Any]) -> web.Response:
    return web.json_response({"revision": 7, "credentials": told, "removed": []})


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "of a later version"},
        {"version": "1"},
        {"version": None},
        {"fields": {"value": 1}},
        {"fields": ["value"]},
        {"fields": None},
        {"max_stale": "1m"},
        {"previous": {"version": 1, "fields": {"value": "old"}, "until": "tomorrow"}},
    ],
)
async def test_a_credential_that_makes_no_sense_holds_up_no_other(wrong: dict[str, Any]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return credentials_of(GOOD | {"name": "crm"} | wrong, GOOD)

    async with answering(answer) as url, Credentials(url, KEY, NAMES) as credentials:
        assert credentials["openai_key"].reveal() == "good"
        with pytest.raises(UnavailableError, match="'crm' that makes no sense"):
            credentials["crm"]


async def test_a_long_answer_is_read_to_its_end() -> None:
    long = "x" * 2**20

    async def answer(_: web.Request) -> web.Response:
        return credentials_of(GOOD | {"fields": {"value": long}})

    async with answering(answer) as url, Credentials(url, KEY, ["openai_key"]) as credentials:
        assert credentials["openai_key"].reveal() == long


async def test_after_the_first_answer_what_has_changed_since_is_waited_for() -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return credentials_of(GOOD)

    async with answering(answer) as url, Credentials(url, KEY, ["openai_key"], poll=0.2):
        await until(lambda: len(asked) > 1)
    assert asked[0] == {"names": "openai_key"}
    assert asked[1] == {"names": "openai_key", "since": "7", "wait": "0.2"}


async def test_a_redirect_takes_the_key_nowhere() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with answering(answer) as url:
        with pytest.raises(SourceError):
            async with Credentials(url, KEY, NAMES, wait=0.0):
                pass
    assert asked == ["/v1/credentials"]


async def test_a_cancellation_during_the_exit_is_not_lost(pulling: Pulling) -> None:
    credentials = await pulling.credentials().__aenter__()
    leaving = asyncio.create_task(credentials.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert credentials._session is not None and credentials._session.closed


@pytest.mark.parametrize("kind", [Credentials, SyncCredentials])
@pytest.mark.parametrize(
    ("url", "names"), [(URL, KEY), (URL, [KEY]), (KEY, ["openai_key"])], ids=["text", "item", "url"]
)
def test_a_key_in_the_place_of_another_argument_is_in_no_message(
    kind: type[Credentials] | type[SyncCredentials], url: str, names: Any
) -> None:
    with pytest.raises(ValueError, match=r"names|URL") as refused:
        kind(url, "k", names)
    assert KEY[20:] not in str(refused.value)


@pytest.mark.parametrize("kind", [Credentials, SyncCredentials])
@pytest.mark.parametrize("url", ["http://u:s3cret@127.0.0.1:1", f"{URL}?p=s3cret", "u:s3cret@h:1"])
def test_a_url_with_a_password_is_refused_unquoted(
    kind: type[Credentials] | type[SyncCredentials], url: str
) -> None:
    with pytest.raises(ValueError, match="'url' has no user") as refused:
        kind(url, "k", NAMES)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "\n", f"Bearer {KEY}", f"{KEY[:30]}\n{KEY[30:]}", f"é{KEY}"])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_asked(key: str) -> None:
    with pytest.raises(ValueError, match="'key' is one word") as refused:
        Credentials(URL, key, NAMES)
    assert KEY[20:30] not in str(refused.value)


@pytest.mark.parametrize("kind", [Credentials, SyncCredentials])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_credentials_are_not_pickled_with_their_key(
    kind: type[Credentials] | type[SyncCredentials], copied: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="hold the key"):
        copied(kind(URL, KEY, NAMES))


@pytest.mark.parametrize("names", [[], ["Crm"], ["user/u1/crm"], ["crm", "c,d"]])
def test_names_are_checked_before_anything_is_asked(names: list[str]) -> None:
    with pytest.raises(ValueError, match="names"):
        Credentials("http://127.0.0.1:1", "k", names)


async def test_programs_without_a_loop_have_the_same(pulling: Pulling) -> None:
    def work() -> tuple[str, str, str]:
        with SyncCredentials(pulling.url, pulling.key, NAMES, poll=1.0) as credentials:
            secret = credentials["crm"]
            before = secret.reveal()
            asyncio.run_coroutine_threadsafe(pulling.vault.write("crm", 2), loop).result()
            ends = time.monotonic() + 20
            while secret.version == 1 and time.monotonic() < ends:
                time.sleep(0.02)
            return before, secret.reveal(), repr(credentials)

    loop = asyncio.get_running_loop()
    before, after, shown = await asyncio.to_thread(work)
    assert (before, after) == ("crm-1", "crm-2") and pulling.key not in shown


async def test_a_program_that_never_leaves_the_context_ends_all_the_same(pulling: Pulling) -> None:
    code = (
        "import gateway.client as c\n"
        f"found = c.SyncCredentials({pulling.url!r}, {pulling.key!r}, ['crm']).__enter__()\n"
        "print(found['crm'].reveal())\n"
    )
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-c", code),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            said, complaints = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
    # On a busy machine asyncio says, in this mode, how long a step took.
    complaints = re.sub(rb"Executing <.*> took [0-9.]+ seconds\n", b"", complaints)
    assert (said, complaints) == (b"crm-1\n", b"")


async def test_a_context_may_be_entered_again_also_after_it_failed(pulling: Pulling) -> None:
    asked = SyncCredentials(pulling.url, pulling.key, ["openai_key"])

    def work() -> str:
        with asked as credentials:
            return credentials["openai_key"].reveal()

    for _ in range(2):
        assert await asyncio.to_thread(work) == "openai_key-1"
    refused = SyncCredentials(pulling.url, pulling.key, ["other"])
    for _ in range(2):
        with pytest.raises(RefusedError):
            await asyncio.to_thread(refused.__enter__)


async def test_a_context_within_itself_is_refused_and_the_outer_one_serves_on(
    pulling: Pulling,
) -> None:
    credentials = pulling.credentials()
    async with credentials:
        with pytest.raises(RuntimeError, match="'with' block already"):
            await credentials.__aenter__()
        assert credentials["crm"].reveal() == "crm-1"

    def work() -> str:
        asked = SyncCredentials(pulling.url, pulling.key, NAMES)
        with asked:
            with pytest.raises(RuntimeError, match="'with' block already"):
                asked.__enter__()
            return asked["crm"].reveal()

    assert await asyncio.to_thread(work) == "crm-1"
    threads = [thread.name for thread in threading.enumerate()]
    assert "gateway-credentials" not in threads, "its thread has ended"


async def test_changes_are_waited_for_in_their_own_loop_and_values_read_in_any(
    pulling: Pulling,
) -> None:
    async with pulling.credentials() as credentials:

        async def elsewhere() -> str:
            with pytest.raises(RuntimeError, match="another event loop: wait there"):
                await credentials.changed(0.1)
            return credentials["crm"].reveal()

        assert await asyncio.to_thread(asyncio.run, elsewhere()) == "crm-1"
        assert not await credentials.changed(0.0)


async def test_what_fails_on_entry_fails_in_the_thread_that_entered(pulling: Pulling) -> None:
    def work() -> None:
        with SyncCredentials(pulling.url, pulling.key, ["other"]):
            pass

    with pytest.raises(RefusedError):
        await asyncio.to_thread(work)


def test_it_needs_little_and_is_typed() -> None:
    code = "import sys, gateway.client; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(FORBIDDEN) & set(ended.stdout.split())
    assert (Path(gateway.client.__file__).parents[1] / "py.typed").exists()


async def test_a_callback_that_fails_keeps_no_change_from_arriving(
    pulling: Pulling, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(name: str) -> None:
        raise RuntimeError(f"no use for {name}")

    async with pulling.credentials(on_change=fails) as credentials:
        for version in (2, 3):
            await pulling.vault.write("crm", version)
            await until(lambda version=version: credentials["crm"].version == version)  # type: ignore[misc]
    assert "no use for crm" in caplog.text


@pytest.mark.parametrize(
    "told", ["{}", "[]", '{"revision": 9, "credentials": [1], "removed": []}', "[" * 100_000]
)
async def test_what_is_no_answer_of_a_gateways_is_asked_for_again(
    told: str, pulling: Pulling
) -> None:
    wrong = True

    async def answer(request: web.Request) -> web.Response:
        if wrong:
            return web.Response(text=told, content_type="application/json")
        got = await pulling.world.call(pulling.key, request.raw_path)
        return web.Response(status=got.status, body=got.body, content_type="application/json")

    async with answering(answer) as url:
        with pytest.raises(SourceError, match="as no gateway does"):
            async with Credentials(url, pulling.key, NAMES, wait=0.0):
                pass
        wrong = False
        async with Credentials(url, pulling.key, NAMES, poll=0.5) as credentials:
            wrong = True
            await until(lambda: credentials.last_error != "")
            wrong = False
            await until(lambda: credentials.last_error == "")
            await pulling.vault.write("crm", 2)
            await until(lambda: credentials["crm"].version == 2)


async def test_what_the_gateway_no_longer_vouches_for_gets_stale_in_the_agent_too(
    pulling: Pulling,
) -> None:
    await pulling.vault.write("crm", 2, max_stale=2)
    await until(lambda: _stale_after(pulling) == 2)
    async with pulling.credentials(poll=0.5) as credentials:
        assert credentials["crm"].version == 2
        name = pulling.vault.store.name(CredentialId("crm"))
        record = await pulling.world.client.get(name)
        await pulling.world.client.set(name, record.replace('"max_stale":2', '"max_stale":9'))
        await pulling.world.client.zincrby("gw:cred:{vault}:changes", 1000, "crm")
        await pulling.world.client.incrby("gw:cred:{vault}:revision", 1000)
        # A stall makes it stale, too, before the agent has heard why.
        await until(lambda: "crm" in credentials.broken and not has(credentials, "crm"))
        assert credentials["openai_key"].reveal() == "openai_key-1"
        await pulling.vault.write("crm", 3)
        await until(lambda: has(credentials, "crm"))


def _stale_after(pulling: Pulling) -> int | None:
    return pulling.world.gateways[0].base.credentials.known[CredentialId("crm")].max_stale


async def test_a_program_that_is_interrupted_on_entry_ends() -> None:
    """Nobody leaves what was not entered, so its thread has to end by itself."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    code = (
        "import signal, threading, gateway.client as c\n"
        "main = threading.main_thread().ident\n"
        "threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()\n"
        f"with c.SyncCredentials('http://127.0.0.1:{port}', 'k', ['crm'], wait=3600):\n"
        "    pass\n"
    )
    with silent:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code), stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(8):
                _, said = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
    assert b"KeyboardInterrupt" in said


async def test_a_key_that_a_function_gives_is_followed_when_it_changes(
    pulling: Pulling, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(pulling.key + "\n")
    async with Credentials(pulling.url, file.read_text, ["crm"], poll=0.2) as credentials:
        new = await pulling.change_key()
        await until(lambda: "key_invalid" in credentials.last_error)
        file.unlink()
        await until(lambda: "cannot be read: FileNotFoundError" in credentials.last_error)
        file.write_text(new)
        await pulling.vault.write("crm", 2)
        await until(lambda: credentials["crm"].reveal() == "crm-2")
        assert credentials.last_error == ""


async def test_where_no_key_can_be_read_an_error_quotes_none() -> None:
    def read() -> str:
        raise ValueError(KEY)

    with pytest.raises(SourceError, match="cannot be read: ValueError") as told:
        async with Credentials(URL, read, NAMES, wait=0.0):
            pass
    assert KEY not in "".join(traceback.format_exception(told.value))


def test_a_key_that_is_neither_text_nor_a_function_is_refused_at_once() -> None:
    """Such as that of a variable that is not set."""
    with pytest.raises((AttributeError, TypeError, ValueError)):
        Credentials(URL, None, NAMES)  # type: ignore[arg-type]


async def test_a_key_is_taken_as_a_file_holds_it(pulling: Pulling) -> None:
    async with Credentials(pulling.url, f"{pulling.key}\n", NAMES, wait=0.0) as credentials:
        assert credentials["crm"].reveal() == "crm-1"
