"""A credential shows nowhere but where it is meant for: after everything that can be done with it,
it is in no log, no error, no metric, no audit record, no process list, nothing Redis is told."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.client import Credentials
from tests.cli.commands import MASTER, OTHER_MASTER, Commands, VaultCommands
from tests.cli.serving import environment
from tests.client.agents import has
from tests.flows.own_store import own_store
from tests.flows.surfaces import (
    answer,
    left_behind,
    mark,
    monitored,
    served,
    shown_nowhere,
    spellings,
    watched_processes,
)

NAMES = ("openai_key", "crm", "db")


def test_each_spelling_would_be_found() -> None:
    secret = mark()
    for before in range(3):
        text = base64.b64encode(b"x" * before + secret.encode())
        assert any(one in text for one in spellings(secret))
        with pytest.raises(AssertionError, match="a log: "):
            shown_nowhere([secret], {"a log": b" " * 300 + text})


async def test_a_credential_is_in_no_log_no_error_no_record_and_not_in_redis(
    tmp_path: Path,
) -> None:
    old, new, later, other = mark(), mark(), mark(), mark()
    (tmp_path / "policies").mkdir()
    policy = "version: 1\nagents: {a: {upstream: 'http://127.0.0.1:9'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(policy)
    told, processes, said, pages = bytearray(), bytearray(), bytearray(), bytearray()
    more = {"GATEWAY_MASTER_KEY": MASTER, "GATEWAY_CREDENTIAL_POLL": "200ms"}
    async with own_store() as store, monitored(store, told), watched_processes(processes):
        run = VaultCommands(store.settings, tmp_path, anew=True)

        async def command(*words: str, value: str = "", **settings: str) -> None:
            ended = await asyncio.to_thread(run, *words, value=value, **settings)
            said.extend((ended.out + ended.said).encode())

        await command("set", "openai_key", "--type", "api_key", "--json", value=old)
        fields = {"username": "u", "password": old}
        await command("set", "crm", "--type", "basic", value=json.dumps(fields))
        await command("set", "db", "--type", "database", value=f"postgresql://u:{other}@h/d")
        keys = Commands(store.settings, tmp_path, anew=True)
        made = await asyncio.to_thread(
            keys, "create", "--consumer", "agent", "--scope", "gateway/credentials", "--quiet"
        )
        key = made.out.strip()
        async with served(tmp_path, store, **more) as (host, port, admin):
            url = f"http://{host}:{port}"
            async with (
                Credentials(url, key, NAMES, poll=0.5) as credentials,
                program(tmp_path, url, key) as agent,
            ):
                assert credentials["openai_key"].reveal() == old
                await command("rotate", "openai_key", "--grace", "1h", value=new)
                await command("rotate", "crm", value=json.dumps({"password": new}))
                async with asyncio.timeout(20):
                    while credentials["crm"].field("password") != new:
                        await asyncio.sleep(0.05)
                    while credentials["openai_key"].reveal() != new:
                        await asyncio.sleep(0.05)
                # What goes wrong is where values slip out.
                await command("set", "crm", "--type", "basic", value=later)
                await command("set", "crm", "--type", "basic", value=f'{{"username": "{later}"}}')
                await command("set", "bad", "--type", "api_key", value=f"{later}\n{later}")
                await command("set", "aa", "--type", "api_key", value=later, **wrong_key())
                await command(
                    "rotate", "openai_key", value=later, GATEWAY_REDIS_URL="redis://127.0.0.1:1"
                )
                for words in (("list",), ("list", "--json"), ("show", "crm"), ("rewrap",)):
                    await command(*words)
                record = await store.client.get("gw:cred:{vault}:item:crm")
                await store.client.set(
                    "gw:cred:{vault}:item:crm", record.replace("basic", "bearer")
                )
                await command("list", "--json")
                await store.client.delete("gw:audit")
                await store.client.set("gw:audit", "in the way")
                pages += await answer(host, port, request(key, "openai_key"))
                await store.client.delete("gw:audit")
                pages += await answer(host, port, request(key, "openai_key&names=crm"))
                pages += await answer(host, port, request(key, "user/u/crm"))
                pages += await answer(host, admin, b"GET /metrics HTTP/1.0\r\n\r\n")
                pages += await answer(host, port, b"GET /readyz HTTP/1.0\r\n\r\n")
                await command("delete", "db", "--yes")
                async with asyncio.timeout(20):
                    while has(credentials, "db"):
                        await asyncio.sleep(0.05)
                said.extend(f"{credentials!r}{vars(credentials)}{credentials.broken}".encode())
            said.extend(agent)
        places = {
            "what commands, the library and errors say": bytes(said),
            "an answer that is no pull": bytes(pages),
            "what Redis is told": bytes(told),
            "the process list": bytes(processes),
            **await left_behind(tmp_path, store),
        }
    assert b"audit_unavailable" in pages and b"credential.read" in places["what Redis keeps"]
    assert b"credentials_changed" in places["stderr"] and b"gateway\0run\0" in processes
    assert b"gateway\0credentials\0" in processes
    shown_nowhere((old, new, later, other, MASTER, OTHER_MASTER), places)


def request(key: str, names: str) -> bytes:
    head = f"GET /v1/credentials?names={names} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n"
    return head.encode()


def wrong_key() -> dict[str, str]:
    return {"GATEWAY_MASTER_KEY": OTHER_MASTER}


@asynccontextmanager
async def program(folder: Path, url: str, key: str) -> AsyncIterator[bytearray]:
    """`gateway run` around a program that tells nothing; what was said is there at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "run", "--poll", "500ms"),
        *("--env", "TOKEN=openai_key", "--file", "crm.password=password", "--", "sleep", "120"),
        cwd=folder,
        env=environment(GATEWAY_URL=url, GATEWAY_KEY=key),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = bytearray()
    async with asyncio.timeout(30):
        while not (folder / "password").exists():
            await asyncio.sleep(0.05)
    try:
        yield said
    finally:
        process.terminate()
        out, err = await process.communicate()
        said.extend(out + err)
