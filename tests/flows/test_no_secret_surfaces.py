"""A key shows nowhere but where it is meant for: put into every place that a caller can write to,
it is in no log, no answer, no metric, nothing that Redis is told or keeps."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway.crypto.draw import draw
from gateway.domain.keys.key import compose
from tests.cli.commands import Commands
from tests.flows.misplaced_keys import requests
from tests.flows.own_store import own_store
from tests.flows.surfaces import PATIENCE, answer, left_behind, monitored, served

AT_ONCE = 60
# What is not whole is given up soon, so that everything is answered, however busy the machine is.
HURRIED = {f"GATEWAY_{name}": "1s" for name in ("HEAD_TIMEOUT", "BODY_TIMEOUT", "KEEP_ALIVE")}
KEY = b"agk_"
# Where the gateway takes a key from, or where other software would look for one.
MEANT_FOR_US = (
    *(b"authorization:", b"x-api-key:", b"api-key:", b"x-goog-api-key:", b"proxy-authorization:"),
    *(b"cookie:", b"sec-websocket-protocol:", b"x-gateway-", b"x-user-id:"),
)


@dataclass
class Agent:
    """Answers every request with a word, and keeps what it received."""

    received: list[bytes] = field(default_factory=list)

    @property
    def lines(self) -> list[bytes]:
        return b"\r\n".join(self.received).lower().split(b"\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                self.received.append(data)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
async def agent() -> AsyncIterator[tuple[Agent, int]]:
    made = Agent()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()


def surfaces(secret: str, text: bytes) -> bool:
    """Whether any part of the secret shows, beyond its last four characters, in any spelling."""
    plain = unquote(unquote(text.decode("latin-1")))
    parts = [secret[i : i + 8] for i in range(len(secret) - 11)]
    encoded = [base64.b64encode(secret[i:].encode())[:24].decode() for i in range(3)]
    return any(part in plain for part in parts + encoded)


async def test_a_key_is_in_no_log_no_answer_and_not_in_redis(
    tmp_path: Path, agent: tuple[Agent, int]
) -> None:
    recorder, agent_port = agent
    (tmp_path / "policies").mkdir()
    upstream = f"upstream: 'http://127.0.0.1:{agent_port}'"
    policy = f"version: 1\nagents:\n  a: {{{upstream}}}\n"
    policy += f"tools:\n  t: {{transport: http, {upstream}}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(policy)
    told = bytearray()
    async with own_store() as store, monitored(store, told):
        commands = Commands(store.settings, tmp_path)
        scopes = ("--scope", "tools/*", "--scope", "gateway/admin")
        real = (await asyncio.to_thread(commands.create, *scopes)).text
        stranger = compose("live", draw(12), draw(32)).text
        forged = compose("live", real[9:21], draw(32)).text
        answers = bytearray()
        async with served(tmp_path, store, **HURRIED) as (host, port, admin):
            sent = [data for key in (real, stranger, forged) for _, data in requests(real, key)]
            for batch in zip_longest(*[iter(sent)] * AT_ONCE, fillvalue=b""):
                each = [(at, data) for data in filter(None, batch) for at in (port, admin)]
                calls = [answer(host, at, data, PATIENCE) for at, data in each]
                answers += b"".join(await asyncio.gather(*calls))
            assert b"200 OK" in answers
            answers += await answer(host, admin, b"GET /metrics HTTP/1.0\r\n\r\n")
        places = {
            "an answer": bytes(answers),
            "what Redis is told": bytes(told),
            **await left_behind(tmp_path, store),
        }
    for place, text in places.items():
        assert len(text) > 200, f"{place} was looked at"
        for key in (real, stranger, forged):
            assert not surfaces(key[22:], text), place
    assert real[9:21].encode() in places["stdout"], "its id is what logs show"
    assert not [line for line in recorder.lines if line.startswith(MEANT_FOR_US) and KEY in line]
