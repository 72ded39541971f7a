"""`gateway redis -- RAW…`: redis-cli for those who have none."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.store.embedded.process import answers
from gateway.store.state_dir import socket_path
from tests.cli.commands import COMMAND, Commands, Ended


@pytest.fixture
def commands(store: StoreSettings, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)


def ask(commands: Commands, *words: str) -> Ended:
    return commands.gateway("redis", "--", *words)


async def test_answers_read_as_redis_cli_prints_them(commands: Commands, client: Redis) -> None:
    record = "gw:key:{AAAAAAAAAAAA}"
    assert ask(commands, "PING").out == "PONG\n"
    assert ask(commands, "HSET", record, "status", "active", "label", "two words").out == "2\n"
    assert ask(commands, "HSET", record, "status", "revoked").out == "0\n"
    assert await client.hget(record, "status") == "revoked"
    assert ask(commands, "HGET", record, "label").out == "two words\n"
    assert ask(commands, "HGET", record, "missing").out == "\n"
    assert ask(commands, "HGETALL", record).out == "status\nrevoked\nlabel\ntwo words\n"
    assert ask(commands, "EXPIRE", record, "3600").out == "1\n"
    assert ask(commands, "DEL", record).out == "1\n"
    assert ask(commands, "KEYS", "*").out == "\n"


@pytest.mark.parametrize("command", [("KEYS", "*"), ("GET", "missing"), ("PING",), ("DBSIZE",)])
def test_scripts_that_used_redis_cli_get_the_same(
    commands: Commands, redis_cli: object, command: tuple[str, ...]
) -> None:
    assert callable(redis_cli)
    assert ask(commands, *command).out == redis_cli(*command)


def test_what_follows_the_dashes_belongs_to_redis(commands: Commands) -> None:
    assert ask(commands, "SET", "k", "--json").out == "OK\n"
    assert ask(commands, "GET", "k").out == "--json\n"
    assert ask(commands, "SET", "k", "--policies").out == "OK\n"
    assert ask(commands, "GET", "k").out == "--policies\n"
    assert ask(commands, "SET", "k", "--").out == "OK\n"
    assert ask(commands, "GET", "k").out == "--\n"


def test_bytes_go_and_come_as_they_are(commands: Commands) -> None:
    def raw(*words: str | bytes) -> bytes:
        return subprocess.run(
            [*COMMAND, "redis", "--", *words],
            env=commands.environment(),
            capture_output=True,
            timeout=60,
        ).stdout

    assert raw("SET", "k", b"\xff\xc3\xa9") == b"OK\n"
    assert raw("STRLEN", "k") == b"3\n"
    assert raw("GET", "k") == b"\xff\xc3\xa9\n"


def test_json_is_for_programs(commands: Commands) -> None:
    ask(commands, "HSET", "h", "a", "1")
    assert commands.gateway("redis", "--json", "--", "HGETALL", "h").json == ["a", "1"]
    assert commands.gateway("redis", "--json", "--", "GET", "missing").json is None


@pytest.mark.parametrize("words", [(), ("MONITOR",), ("subscribe", "news")])
def test_what_cannot_mean_anything_is_wrong_usage(
    commands: Commands, words: tuple[str, ...]
) -> None:
    refused = ask(commands, *words)
    assert refused.code == 2
    assert refused.is_one_sentence()


def test_an_error_of_redis_is_a_failure_in_one_sentence(commands: Commands) -> None:
    refused = ask(commands, "HSET", "only-a-name")
    assert refused.code == 1
    assert refused.is_one_sentence()
    assert "wrong number of arguments" in refused.said


def test_a_redis_that_is_not_there_is_a_failure_that_shows_no_password(
    commands: Commands,
) -> None:
    away = replace(commands.store, url="redis://user:hunter2@127.0.0.1:1/0")
    refused = ask(replace(commands, store=away), "PING")
    assert refused.code == 1
    assert refused.is_one_sentence()
    assert "hunter2" not in refused.said


def test_the_embedded_store_runs_for_as_long_as_the_command(commands: Commands) -> None:
    with TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        own = replace(commands, store=replace(commands.store, url=None), folder=Path(folder))
        assert own.gateway("redis", "--state-dir", str(state), "--", "SET", "k", "v").out == "OK\n"
        assert not answers(socket_path(state))
        assert own.gateway("redis", "--state-dir", str(state), "--", "GET", "k").out == "v\n"


def test_who_finds_no_keys_learns_where_they_were_looked_for(commands: Commands) -> None:
    assert "no keys yet in Redis" in commands("list").said
    with TemporaryDirectory() as folder:
        own = replace(commands, store=replace(commands.store, url=None), folder=Path(folder))
        said = own("list", "--state-dir", f"{folder}/elsewhere").said
        assert f"no keys yet in the private store in {folder}/elsewhere" in said


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_terminal_shows_types_as_redis_cli_does(commands: Commands) -> None:
    ask(commands, "RPUSH", "list", "a", "b")
    assert on_a_terminal(commands, "LRANGE", "list", "0", "-1") == ['1) "a"', '2) "b"']
    assert on_a_terminal(commands, "LLEN", "list") == ["(integer) 2"]
    assert on_a_terminal(commands, "GET", "missing") == ["(nil)"]
    assert on_a_terminal(commands, "PING") == ["PONG"]
    ask(commands, "SET", "k", 'é "\x1b[31m')
    assert on_a_terminal(commands, "GET", "k") == [r'"é \"\x1b[31m"']


def on_a_terminal(commands: Commands, *words: str) -> list[str]:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        command = [*COMMAND, "redis", "--", *words]
        subprocess.run(command, env=commands.environment(), stdout=theirs, check=True, timeout=60)
        os.close(theirs)
        return terminal.read(65536).decode().splitlines()
