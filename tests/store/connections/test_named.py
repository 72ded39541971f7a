"""A Redis with a name is reached at whichever of its addresses answers, over TLS, by sentinels
and in a cluster too."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme
from redis.exceptions import RedisError

from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import examine, open_lines, open_store
from gateway.store.connections.slots import SLOTS
from tests.flows.clusters import CLUSTER, run
from tests.flows.nodes import DATA, PASSWORD, start_node
from tests.flows.sentinels import watched_store
from tests.flows.tls_relays import TlsRelay, tls_relay

NAME, SILENT = "redis.test", "127.0.0.2"


def listening_and_silent(address: str, port: int, stack: ExitStack) -> None:
    """All places to wait for being accepted are taken: a further SYN gets no answer."""
    listener = stack.enter_context(socket.create_server((address, port), backlog=0))
    for _ in range(2):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())


@pytest.fixture
async def reached() -> AsyncIterator[tuple[TlsRelay, Path]]:
    """A port of 127.0.0.1 that leads to a Redis, of 127.0.0.2 that leads nowhere, and what proves
    the first over TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        node = await start_node(folder / "n", DATA)
        relay = stack.enter_context(tls_relay(context))
        relay.server_port = node.port
        listening_and_silent(SILENT, relay.port, stack)
        yield relay, folder / "ca.pem"
        await node.close()


@pytest.fixture(params=["redis", "rediss"])
def settings(
    request: pytest.FixtureRequest, reached: tuple[TlsRelay, Path], tmp_path: Path
) -> StoreSettings:
    relay, ca = reached
    query = f"?ssl_ca_certs={ca}" if request.param == "rediss" else ""
    url = f"{request.param}://:{PASSWORD}@{NAME}:{relay.port}/0{query}"
    return StoreSettings(url=url, state_dir=tmp_path, timeout=2.0)


def stands_for(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """What the name is, as a name server would tell."""
    loop = asyncio.get_running_loop()
    others = loop.getaddrinfo

    async def resolve(host: Any, port: Any, **how: Any) -> Any:
        if host != NAME:
            return await others(host, port, **how)
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, (address, port)) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)


async def test_an_address_that_does_not_answer_does_not_stand_before_the_others(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_for(monkeypatch, SILENT, "127.0.0.1")
    await answers(settings)


async def answers(settings: StoreSettings) -> None:
    """On the hot path, and to whatever else asks, each of its nodes too."""
    lines = open_lines(settings)
    try:
        await lines.ping()
    finally:
        await lines.close()
    async with open_store(settings) as client:
        assert await client.ping()
        await examine(client)


async def test_where_none_answers_nobody_waits_for_longer_than_they_may(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_for(monkeypatch, SILENT, SILENT)
    lines = open_lines(replace(settings, timeout=0.3))
    try:
        async with asyncio.timeout(5):
            with pytest.raises(StoreError):
                await lines.ping()
    finally:
        await lines.close()
    async with asyncio.timeout(5), open_store(replace(settings, timeout=0.3)) as client:
        with pytest.raises(RedisError):
            await client.ping()


async def test_sentinels_are_reached_so_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with watched_store() as store:
        with ExitStack() as stack:
            for node in store.sentinels:
                listening_and_silent(SILENT, node.port, stack)
            stands_for(monkeypatch, SILENT, "127.0.0.1")
            named = (store.settings.url or "").replace("127.0.0.1", NAME)
            await answers(replace(store.settings, url=named, timeout=2.0))


async def test_nodes_of_a_cluster_are_reached_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"--cluster-announce-hostname": NAME, "--cluster-preferred-endpoint-type": "hostname"}
    node = await start_node(tmp_path / "n", {**CLUSTER, **told})
    try:
        await run(node, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        with ExitStack() as stack:
            listening_and_silent(SILENT, node.port, stack)
            stands_for(monkeypatch, SILENT, "127.0.0.1")
            url = f"redis+cluster://:{PASSWORD}@{NAME}:{node.port}"
            settings = StoreSettings(url=url, state_dir=tmp_path, timeout=2.0)
            await answers(settings)
    finally:
        await node.close()
