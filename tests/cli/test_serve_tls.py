"""Answers of agents over TLS, on the event loop that production has."""

import asyncio
import socket
import ssl
from asyncio import Task
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import trustme
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.crews import issue
from tests.cli.serving import PATIENCE, Served, serving
from tests.flows.raw import read_answer
from tests.flows.sockets import HANDSHAKE, SWITCHING, End
from tests.flows.world import PEPPER
from tests.protocol.http.frames import BINARY, CLOSE, frame

HELD_UP = 3.0
BODY = b"0123456789abcdef" * 2**18


@dataclass
class HastyAgent:
    """Takes one request, answers, and is gone: as most servers do, it does not wait for the other
    side's word. `says_end`: whether it says its own."""

    listener: socket.socket
    context: ssl.SSLContext

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    async def answers(self, answer: bytes, *, says_end: bool) -> Task[None]:
        """Done, or held up because more is on its way than what lies between holds."""
        thread = asyncio.to_thread(self._answer, answer, says_end=says_end)
        task = asyncio.create_task(thread)
        await asyncio.wait({task}, timeout=HELD_UP)
        return task

    def _answer(self, answer: bytes, *, says_end: bool) -> None:
        taken, _ = self.listener.accept()
        taken.settimeout(PATIENCE)
        with closing(self.context.wrap_socket(taken, server_side=True)) as secure:
            secure.recv(2**16)
            secure.sendall(answer)
            secure.setblocking(False)
            with suppress(ssl.SSLWantReadError):
                if says_end:
                    secure.unwrap()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[HastyAgent]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield HastyAgent(listener, context)


def slow_caller(served: Served, request: str) -> socket.socket:
    """Has sent it, and reads nothing yet."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(served.data)
    caller.sendall(request.encode())
    caller.setblocking(False)
    return caller


def with_policies(store: StoreSettings, agent: HastyAgent, folder: Path) -> dict[str, str]:
    """The settings of a gateway in `folder` that calls `agent` `chat`."""
    (folder / "policies").mkdir()
    (folder / "policies" / "a.yaml").write_text(
        "version: 1\nagents:\n  chat:\n    upstream:\n"
        f"      {{url: 'https://localhost:{agent.port}', ca: {folder / 'ca.pem'}}}\n"
    )
    return {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        # On a busy machine a second is over soon.
        "GATEWAY_REDIS_TIMEOUT": "10s",
    }


async def test_what_an_agent_sent_before_it_closed_is_passed_on_however_late_it_is_read(
    store: StoreSettings, client: Redis, agent: HastyAgent, tmp_path: Path
) -> None:
    """With a length, without one, cut (what was cut never looks whole), and through a WebSocket."""
    settings = with_policies(store, agent, tmp_path)
    key = (await issue(client)).text
    asking = f"GET /agents/chat/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
    sized = f"Content-Length: {len(BODY)}\r\n"
    async with serving(folder=tmp_path, settings=settings) as served:
        for length, says_end in product((sized, ""), (True, False)):
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n".encode()
            with slow_caller(served, asking) as caller:
                answered = await agent.answers(head + BODY, says_end=says_end)
                reader, writer = await asyncio.open_connection(sock=caller)
                with closing(writer):
                    if length or says_end:
                        answer = await read_answer(reader)
                        assert answer.status == 200, answer.body
                        assert answer.body == BODY
                    else:
                        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                            await read_answer(reader)
                await answered
        frames = frame(BINARY, BODY, masked=False) + frame(CLOSE, b"\x03\xe8", masked=False)
        with slow_caller(served, HANDSHAKE.format(key=key, more="")) as caller:
            switching = SWITCHING.format(more="").encode()
            answered = await agent.answers(switching + frames, says_end=True)
            end = End(*await asyncio.open_connection(sock=caller))
            with closing(end.writer):
                assert (await end.head()).startswith(b"HTTP/1.1 101 ")
                assert await end.read_to_end() == frames
            await answered


async def test_no_key_of_a_connection_is_written_where_the_environment_says(
    store: StoreSettings, client: Redis, agent: HastyAgent, tmp_path: Path
) -> None:
    """Whoever has them reads the keys and credentials that were sent."""
    keys = tmp_path / "tls-keys"
    settings = with_policies(store, agent, tmp_path) | {"SSLKEYLOGFILE": str(keys)}
    key = (await issue(client)).text
    ok = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with serving(folder=tmp_path, settings=settings, anew=True) as served:
        caller = await served.connect()
        caller.send("/agents/chat/x", key)
        answered = await agent.answers(ok, says_end=True)
        assert (await caller.answer()).body == b"ok"
        await answered
    assert not keys.exists()
