"""A server under the configuration and the users that are shipped in `deploy/redis`."""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.commands import Commands, Ended
from tests.flows.own_store import OwnStore, own_store
from tests.needed import program

DEPLOY = Path(__file__).parents[2] / "deploy" / "redis"
USERS = ("gateway", "operator", "control", "viewer", "vault", "admin")


@dataclass
class Guarded:
    """A server under the shipped configuration, and the users' passwords."""

    store: OwnStore
    passwords: dict[str, str]
    folder: Path

    def settings(self, user: str) -> StoreSettings:
        return self.store.as_user((user, self.passwords[user]))

    def commands(self, user: str) -> Commands:
        return Commands(self.settings(user), self.folder)

    async def run(self, user: str, *words: str) -> Ended:
        """`gateway WORDS` by this user."""
        return await asyncio.to_thread(self.commands(user).gateway, *words)

    async def by_hand(self, user: str, *words: str) -> str:
        """redis-cli by this user; what it printed."""
        redis_cli = program("redis-cli", "Debian: redis-tools")
        command = [redis_cli, "-s", str(self.store.socket), "--user", user, *words]
        environment = {**os.environ, "REDISCLI_AUTH": self.passwords[user]}
        run = subprocess.run
        ended = await asyncio.to_thread(run, command, env=environment, capture_output=True)
        return ended.stdout.decode().strip()

    @asynccontextmanager
    async def client(self, user: str) -> AsyncIterator[Redis]:
        url = self.settings(user).url or ""
        async with Redis.from_url(url, decode_responses=True) as made:
            yield made

    async def refusals(self) -> list[str]:
        """Who was refused what since the last time."""
        log = await self.store.client.acl_log()
        await self.store.client.acl_log_reset()
        return [f"{entry['username']}: {entry['object']}" for entry in log]


def set_password(users: Path, user: str, password: str) -> "subprocess.CompletedProcess[str]":
    program = [DEPLOY / "set-password", users, user]
    return subprocess.run(program, input=password, text=True, capture_output=True)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    users = tmp_path / "users.acl"
    shutil.copy(DEPLOY / "users.acl", users)
    passwords = {user: secrets.token_hex(24) for user in USERS}
    for user, password in passwords.items():
        set_password(users, user, password)
    loose = ("--enable-debug-command", "yes")
    options = (str(DEPLOY / "redis.conf"), "--aclfile", str(users), *loose)
    async with own_store(options, ("admin", passwords["admin"])) as store:
        yield Guarded(store, passwords, tmp_path)
