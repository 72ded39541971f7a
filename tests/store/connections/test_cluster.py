"""The ordinary client on a real cluster does what it does on one Redis."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from gateway.domain.credentials import parse_id
from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.domain.usage import By, Counts, Step, bucket_of
from gateway.store.audit import AuditStore
from gateway.store.commands import ask_all, command
from gateway.store.connections.connect import examine, open_lines, open_store
from gateway.store.connections.line import pack
from gateway.store.connections.slots import SLOTS, slot_of
from gateway.store.keys import KeyStore
from gateway.store.usage import NotAdded, UsageStore, UsageWriter
from gateway.store.vault import VaultStore
from tests.awake import awake
from tests.flows.clusters import CLUSTER, ClusterStore, cluster_store, run
from tests.flows.nodes import PASSWORD, PATIENCE, Node, start_node

ID = "AAAAAAAAAAAA"


@pytest.fixture
async def cluster() -> AsyncIterator[ClusterStore]:
    async with cluster_store() as made:
        yield made


@pytest.fixture
async def root(cluster: ClusterStore) -> AsyncIterator[Redis]:
    async with open_store(cluster.root) as client:
        yield client


async def test_a_transaction_is_all_or_nothing_and_follows_its_slot(
    cluster: ClusterStore, root: Redis
) -> None:
    audit = AuditStore(root, "gw:")
    await audit.append(["one", "two"])
    slot = await run(cluster.nodes[0], "CLUSTER", "KEYSLOT", "gw:audit")
    owner = await cluster.holder(slot)
    other = next(node for node in cluster.nodes[:3] if node is not owner)
    await cluster.move(slot, owner, other)
    await audit.append(["three"])
    assert [record async for _, record in audit.read()] == ["one", "two", "three"]
    await root.set("other:audit", "no stream")
    with pytest.raises(StoreError):
        await AuditStore(root, "other:").append(["four"])


async def test_a_transaction_follows_a_slot_while_it_moves(
    cluster: ClusterStore, root: Redis
) -> None:
    """Its names may be on the new node before that holds the slot, and the nodes hear of it one
    after the other."""
    audit = AuditStore(root, "gw:")
    slot = await run(cluster.nodes[0], "CLUSTER", "KEYSLOT", "gw:audit")
    owner = await cluster.holder(slot)
    other = next(node for node in cluster.nodes[:3] if node is not owner)
    written = 0
    moving = asyncio.create_task(cluster.move(slot, owner, other, pause=0.2))
    while written == 0 or not moving.done():
        await audit.append([b"one", b"two"])
        written += 2
    await moving
    assert await audit.length() == written


async def test_who_gives_one_node_for_the_cluster_is_told(cluster: ClusterStore) -> None:
    node = cluster.nodes[0]
    url = f"redis://:{PASSWORD}@127.0.0.1:{node.port}"
    async with open_store(replace(cluster.root, url=url)) as client:
        assert any("redis+cluster://" in warning for warning in await examine(client))
    async with open_store(cluster.root) as client:
        assert not any("redis+cluster://" in warning for warning in await examine(client))


async def test_a_cluster_that_wants_a_login_is_told_where_it_is_given(
    cluster: ClusterStore,
) -> None:
    url = f"redis+cluster://127.0.0.1:{cluster.nodes[0].port}"
    async with open_store(replace(cluster.root, url=url)) as client:
        with pytest.raises(StoreError, match="redis://user:password@host"):
            await command(client, "PING")


async def test_a_cluster_that_is_none_is_told(store: StoreSettings) -> None:
    async with own_server() as port:
        url = f"redis+cluster://127.0.0.1:{port}"
        async with open_store(replace(store, url=url)) as client:
            with pytest.raises(StoreError, match="Cluster mode is not enabled"):
                await command(client, "PING")


@asynccontextmanager
async def own_server() -> AsyncIterator[int]:
    with TemporaryDirectory() as folder:
        node = await start_node(Path(folder) / "n")
        try:
            yield node.port
        finally:
            await node.close()


async def test_the_vault_works_in_its_one_slot(cluster: ClusterStore, root: Redis) -> None:
    vault = VaultStore(root, "gw:")
    crm, erp = parse_id("crm"), parse_id("erp")
    assert crm is not None and erp is not None
    assert await vault.put(crm, b"sealed", None)
    assert await vault.put(erp, b"sealed too", None)
    assert not await vault.put(crm, b"late", b"something else")
    slot = await run(cluster.nodes[0], "CLUSTER", "KEYSLOT", vault.name(crm))
    owner = await cluster.holder(slot)
    other = next(node for node in cluster.nodes[:3] if node is not owner)
    await cluster.move(slot, owner, other)
    assert await vault.read([crm, erp]) == {crm: b"sealed", erp: b"sealed too"}
    assert [one for one, _ in (await vault.written_since(0)).ids] == [crm, erp]
    assert await vault.delete(crm, b"sealed", 1)
    assert await vault.get(crm) is None


async def test_counts_follow_their_slot(cluster: ClusterStore, root: Redis) -> None:
    writer = UsageWriter(open_lines(cluster.settings), "worker", "gw:")
    bucket = bucket_of(By.ALL, Step.DAY, 1_800_000_000)
    try:
        assert await writer.add({bucket: {"": Counts(requests=1)}}, 1) == NotAdded((), ())
        owner = await cluster.holder(slot_of(bucket.owner))
        other = next(node for node in cluster.nodes[:3] if node is not owner)
        await cluster.move(slot_of(bucket.owner), owner, other)
        assert await writer.add({bucket: {"": Counts(requests=1)}}, 2) == NotAdded((), ())
    finally:
        await writer.close()
    assert await UsageStore(root, "gw:").read([bucket]) == [{"": Counts(requests=2)}]


async def test_names_that_move_while_they_are_looked_for_are_all_found(
    cluster: ClusterStore, root: Redis
) -> None:
    keys = KeyStore(root, "gw:")
    source, target = cluster.nodes[2], cluster.nodes[0]
    await root.hset(f"gw:key:{{{ID}}}", "hash", "x")
    ids = {ID}
    for number in range(40):
        name = f"{number:012}"
        ids.add(name)
        await root.hset(f"gw:key:{{{name}}}", "hash", "x")
    moving = [name for name in ids if await cluster.holder(slot_of(name)) is source]
    assert moving
    done = asyncio.Event()

    async def move_all() -> None:
        for here, there in [(source, target), (target, source)] * 3:
            for name in moving:
                await cluster.move(slot_of(name), here, there)
        done.set()

    move = asyncio.create_task(move_all())
    while not done.is_set():
        assert set(await keys.ids()) == ids
    await move
    assert set(await keys.ids()) == ids


async def test_a_connection_that_the_server_closed_meanwhile_costs_nobody_an_error(
    cluster: ClusterStore, root: Redis
) -> None:
    keys = KeyStore(root, "gw:")
    for _ in range(3):
        assert await keys.get(ID) is None
        for node in cluster.nodes:
            await node.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.05)


async def test_a_node_that_belongs_to_no_cluster_yet_is_asked_again(tmp_path: Path) -> None:
    """A gateway may start before its cluster is formed, and a node that was reset knows of none."""
    node = await start_node(tmp_path / "n", CLUSTER)
    settings = StoreSettings(f"redis+cluster://:{PASSWORD}@127.0.0.1:{node.port}", tmp_path)
    lines = open_lines(settings)
    try:
        async with open_store(settings) as client:
            for _ in range(2):
                with pytest.raises(StoreError):
                    await lines.call(pack("GET", ID), ID)
                with pytest.raises(StoreError):
                    await command(client, "GET", ID)
            await run(node, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
            assert await eventually(lambda: lines.call(pack("GET", ID), ID)) is None
            assert await eventually(lambda: command(client, "GET", ID)) is None
    finally:
        await lines.close()
        await node.close()


async def test_a_slot_that_no_node_holds_is_looked_for_again(
    cluster: ClusterStore, root: Redis
) -> None:
    """What goes on by itself, such as the heartbeat, outlives errors of the store and no others."""
    await root.set(ID, "there")
    holder = await cluster.holder(slot_of(ID))
    for node in cluster.nodes:
        await run(node, "CLUSTER", "DELSLOTS", slot_of(ID))
    async with open_store(cluster.root) as client:
        for _ in range(2):
            with pytest.raises(StoreError):
                await command(client, "GET", ID)
        await run(holder, "CLUSTER", "ADDSLOTS", slot_of(ID))
        assert await eventually(lambda: command(client, "GET", ID)) == b"there"


async def test_a_name_is_asked_of_a_new_node_that_holds_no_slot_yet(
    cluster: ClusterStore, root: Redis, tmp_path: Path
) -> None:
    """A node that is added to a cluster gets its first slot while the gateway serves."""
    await root.get(ID)
    new = await start_node(tmp_path / "new", CLUSTER)
    try:
        await cluster.take_in(new)
        there, holder = cluster.ids[new.port], await cluster.holder(slot_of(ID))
        here = cluster.ids[holder.port]
        await run(new, "CLUSTER", "SETSLOT", slot_of(ID), "IMPORTING", here)
        await run(holder, "CLUSTER", "SETSLOT", slot_of(ID), "MIGRATING", there)
        await command(root, "SET", ID, "there")
        assert await run(holder, "CLUSTER", "COUNTKEYSINSLOT", slot_of(ID)) == 0
        assert await ask_all(root, [("GET", ID)]) == [b"there"]
    finally:
        await new.close()


async def test_a_cluster_that_came_back_at_other_addresses_is_found_by_the_name_in_the_url(
    tmp_path: Path,
) -> None:
    """As where each node is a container: all are replaced, and the name leads to the new ones."""
    nodes: list[Node] = []

    async def start() -> None:
        nodes.append(await start_node(tmp_path / f"{len(nodes)}", CLUSTER))
        await run(nodes[-1], "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)

    async def lead_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asked = await asyncio.open_connection("127.0.0.1", nodes[-1].port)
        await asyncio.gather(_copy(reader, asked), _copy(answers, writer))

    name = await asyncio.start_server(lead_on, "127.0.0.1", 0)
    port = name.sockets[0].getsockname()[1]
    settings = StoreSettings(f"redis+cluster://:{PASSWORD}@127.0.0.1:{port}", tmp_path)
    await start()
    lines = open_lines(settings)
    try:
        async with open_store(settings) as client:
            for _ in range(2):
                assert await eventually(lambda: lines.call(pack("GET", ID), ID)) is None
                assert await eventually(lambda: command(client, "GET", ID)) is None
                nodes[-1].kill()
                await start()
            assert await eventually(lambda: lines.call(pack("GET", ID), ID)) is None
    finally:
        await lines.close()
        name.close()
        for node in nodes:
            await node.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def eventually(ask: Callable[[], Awaitable[object]]) -> object:
    """What is answered once something is."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ask()
            except StoreError:
                await asyncio.sleep(0.05)


async def test_a_cluster_that_was_never_seen_refuses_each_call_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    settings = StoreSettings(f"redis+cluster://127.0.0.1:{port}", Path(), timeout=0.2)
    lines = open_lines(settings)
    with pytest.raises(StoreError):
        await lines.ping()
    # Each of them was let wait for as long as the time to wait had been over.
    with awake() as passed:
        for _ in range(20):
            with pytest.raises(StoreError):
                await lines.call(pack("PING"), ID)
        assert passed() < 1.0
    await lines.close()
