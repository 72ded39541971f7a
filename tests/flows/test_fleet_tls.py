"""`rediss+cluster://` and `rediss+sentinel://`: every connection is encrypted, and checked."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.admission import PREPARE, Admission, Stale
from gateway.store.connections.connect import open_lines, open_store
from gateway.store.connections.slots import SLOTS
from gateway.store.keys import KeyStore
from tests.flows.clusters import CLUSTER, run
from tests.flows.nodes import DATA, PASSWORD, start_node
from tests.flows.sentinels import MASTER, SENTINEL
from tests.flows.tls_relays import TlsRelay, tls_relay

ID = "AAAAAAAAAAAA"


class Encrypted:
    """`url` is good for whoever trusts the authority in `ca`."""

    def __init__(self, stack: AsyncExitStack, authority: trustme.CA) -> None:
        self.folder = Path(stack.enter_context(TemporaryDirectory()))
        self.ca = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self._stack = stack
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self.url = ""

    def relay(self) -> TlsRelay:
        return self._stack.enter_context(tls_relay(self._context))

    async def start_cluster(self) -> list[TlsRelay]:
        relay = self.relay()
        options = {**CLUSTER, "--cluster-announce-port": str(relay.port)}
        node = await start_node(self.folder / "n", options)
        self._stack.push_async_callback(node.close)
        relay.server_port = node.port
        await run(node, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        while "cluster_state:ok" not in await run(node, "CLUSTER", "INFO"):
            pass
        self.url = f"rediss+cluster://:{PASSWORD}@127.0.0.1:{relay.port}?ssl_ca_certs={self.ca}"
        return [relay]

    async def start_sentinels(self) -> list[TlsRelay]:
        data, watching = self.relay(), self.relay()
        master = await start_node(self.folder / "m", DATA)
        self._stack.push_async_callback(master.close)
        data.server_port = master.port
        config = SENTINEL.format(name=MASTER, port=data.port, password=PASSWORD, down=5000)
        sentinel = await start_node(self.folder / "s", config=config, extra=("--sentinel",))
        self._stack.push_async_callback(sentinel.close)
        watching.server_port = sentinel.port
        place = f"127.0.0.1:{watching.port}/{MASTER}"
        query = f"sentinel_password={PASSWORD}&ssl_ca_certs={self.ca}"
        self.url = f"rediss+sentinel://:{PASSWORD}@{place}?{query}"
        return [data, watching]


@pytest.fixture
async def encrypted() -> AsyncIterator[Encrypted]:
    async with AsyncExitStack() as stack:
        yield Encrypted(stack, trustme.CA())


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_every_connection_is_encrypted_and_checked(encrypted: Encrypted, kind: str) -> None:
    start = encrypted.start_cluster if kind == "cluster" else encrypted.start_sentinels
    relays = await start()
    settings = StoreSettings(url=encrypted.url, state_dir=encrypted.folder)
    async with open_store(settings) as client:
        assert await KeyStore(client, "gw:").ids() == []
    admission = Admission(open_lines(settings, PREPARE), "gw:")
    try:
        assert isinstance(await admission.run(ID, admission.pack_read(ID)), Stale)
    finally:
        await admission.close()
    assert all(relay.handshakes >= 2 for relay in relays)

    trustme.CA().cert_pem.write_to_path(str(encrypted.ca))
    async with open_store(settings) as client:
        with pytest.raises(StoreError):
            await KeyStore(client, "gw:").ids()
