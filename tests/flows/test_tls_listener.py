"""HTTPS on the listener, with a certificate that is renewed while it runs."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import pytest
import trustme
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.errors import OperationError
from gateway.domain.settings import ListenerLimits, ServerTls, StoreSettings
from gateway.server import Certificate
from tests.flows.world import World, new_world
from tests.starved import no_more_files


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> ServerTls:
    made = ServerTls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    issue(authority, made, "localhost")
    return made


def issue(
    authority: trustme.CA,
    files: ServerTls,
    name: str,
    kind: trustme.KeyType = trustme.KeyType.ECDSA,
) -> None:
    """A new certificate in place of the old one, by rename, as a renewal would do it."""
    issued = authority.issue_cert(name, key_type=kind)
    for pem, path in ((issued.cert_chain_pems[0], files.cert), (issued.private_key_pem, files.key)):
        draft = Path(f"{path}.draft")
        pem.write_to_path(str(draft))
        draft.replace(path)


@pytest.fixture
async def secure(store: StoreSettings, client: Redis, files: ServerTls) -> AsyncIterator[World]:
    limits = ListenerLimits(head=0.5)
    async with new_world(store, client, tls=files, limits=limits) as world:
        yield world


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def shown(world: World, authority: trustme.CA) -> str:
    """The name in the certificate that the listener shows now."""
    context = trusting(authority)
    context.check_hostname = False
    _, writer = await asyncio.open_connection(*world.address, ssl=context)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["subjectAltName"][0][1])


async def test_callers_are_served_over_tls_and_the_agent_is_told(
    secure: World, authority: trustme.CA
) -> None:
    key = await secure.issue()
    url = f"https://localhost:{secure.address[1]}/agents/echo/x"
    headers = {"Authorization": f"Bearer {key.text}"}
    context = trusting(authority)
    async with secure.session.post(url, headers=headers, data=b"x" * 10**6, ssl=context) as answer:
        told = await answer.json()
    assert told["length"] == 10**6
    assert ["X-Forwarded-Proto", "https"] in told["headers"]


async def test_plain_http_gets_nothing_from_a_tls_listener(secure: World) -> None:
    reader, writer = await asyncio.open_connection(*secure.address)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1.1" not in await reader.read()
    writer.close()


async def test_a_handshake_that_does_not_go_on_is_ended(secure: World) -> None:
    reader, writer = await asyncio.open_connection(*secure.address)
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_handshakes_that_do_not_go_on_keep_nobody_out(
    store: StoreSettings, client: Redis, authority: trustme.CA, files: ServerTls
) -> None:
    """They hold no place among the connections, so there are no more of them than of those."""
    limits = ListenerLimits(max_connections=4, head=60)
    async with new_world(store, client, tls=files, limits=limits) as world, AsyncExitStack() as end:
        # All at once: the gateway takes them in one turn.
        coming = (asyncio.open_connection(*world.address) for _ in range(20))
        mute = await asyncio.gather(*coming)
        for _, writer in mute:
            end.callback(writer.close)
        async with asyncio.timeout(20):
            for _ in range(3):
                assert await shown(world, authority) == "localhost"
            reading = [asyncio.create_task(reader.read()) for reader, _ in mute]
            ended: set[asyncio.Task[bytes]] = set()
            while len(ended) < 16:
                more, _ = await asyncio.wait(
                    set(reading) - ended, return_when=asyncio.FIRST_COMPLETED
                )
                ended |= more
            assert all(one.exception() or one.result() == b"" for one in ended)
            for one in reading:
                one.cancel()


@pytest.mark.parametrize("kind", trustme.KeyType, ids=lambda kind: kind.name)
async def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(
    secure: World, authority: trustme.CA, files: ServerTls, kind: trustme.KeyType
) -> None:
    """Also where its key is of another kind than the one before."""
    assert await shown(secure, authority) == "localhost"
    issue(authority, files, "renewed.test", kind)
    async with asyncio.timeout(20):
        while await shown(secure, authority) != "renewed.test":
            await asyncio.sleep(0.05)


async def test_half_a_pair_leaves_the_good_one_in_use(
    authority: trustme.CA, files: ServerTls
) -> None:
    certificate = Certificate(files)
    kept = Path(files.cert).read_bytes()
    issue(authority, files, "renewed.test")
    Path(files.cert).write_bytes(kept)
    with capture_logs() as told:
        certificate.renew()
        certificate.renew()
    assert [one["event"] for one in told] == ["certificate_refused"]
    assert await shown_by(certificate, authority) == "localhost"


async def test_a_pair_for_which_no_file_was_left_is_in_use_once_it_can_be_read(
    authority: trustme.CA, files: ServerTls
) -> None:
    """Nothing tried it again: the certificate before was shown beyond its end."""
    certificate = Certificate(files)
    issue(authority, files, "renewed.test")
    with no_more_files():
        certificate.renew()
    certificate.renew()
    assert await shown_by(certificate, authority) == "renewed.test"


async def shown_by(certificate: Certificate, authority: trustme.CA) -> str:
    server, caller = socket.socketpair()
    handshake = asyncio.to_thread(_handshake, certificate.context, server)
    name, _ = await asyncio.gather(asyncio.to_thread(_ask, trusting(authority), caller), handshake)
    return name


def _handshake(context: ssl.SSLContext, sock: socket.socket) -> None:
    with context.wrap_socket(sock, server_side=True):
        pass


def _ask(context: ssl.SSLContext, sock: socket.socket) -> str:
    context.check_hostname = False
    with context.wrap_socket(sock, server_hostname="localhost") as secured:
        certificate = secured.getpeercert()
    assert certificate is not None
    names: tuple[tuple[str, str], ...] = certificate["subjectAltName"]  # type: ignore[assignment]
    return names[0][1]


def test_files_that_are_no_pair_are_refused_at_the_start(
    tmp_path: Path, authority: trustme.CA, files: ServerTls
) -> None:
    Path(files.key).write_text("not a key")
    with pytest.raises(OperationError, match="not a usable certificate"):
        Certificate(files)
    with pytest.raises(OperationError, match="No such file"):
        Certificate(ServerTls(str(tmp_path / "none.pem"), files.key))


async def test_who_makes_room_and_never_says_goodbye_is_not_waited_for(
    store: StoreSettings, client: Redis, authority: trustme.CA, files: ServerTls
) -> None:
    """TLS ends with a word from both sides: whoever keeps its own back keeps no place."""
    limits = ListenerLimits(max_connections=1)
    async with new_world(store, client, tls=files, limits=limits) as world:
        connections = world.gateways[0].data.connections
        with socket.create_connection(world.address) as plain:
            mute = await asyncio.to_thread(
                trusting(authority).wrap_socket, plain, server_hostname="localhost"
            )
            async with asyncio.timeout(10):
                while not connections:
                    await asyncio.sleep(0.01)
                (old,) = connections
                assert await shown(world, authority) == "localhost"
                await old.ended
            mute.close()


@pytest.fixture
async def mute(
    store: StoreSettings, client: Redis, authority: trustme.CA, files: ServerTls
) -> AsyncIterator[World]:
    """One caller has the only place, was answered, and does not say goodbye."""
    limits = ListenerLimits(max_connections=1)
    async with new_world(store, client, tls=files, limits=limits) as world:
        with socket.create_connection(world.address) as plain:
            caller = await asyncio.to_thread(
                trusting(authority).wrap_socket, plain, server_hostname="localhost"
            )
            with closing(caller):
                caller.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert b"401" in await asyncio.to_thread(caller.recv, 100)
                yield world


async def test_who_was_answered_and_says_no_goodbye_makes_room(
    mute: World, authority: trustme.CA
) -> None:
    """Anybody is answered, if only with 401: that must not be worth a place for half a minute."""
    url = f"https://localhost:{mute.address[1]}/livez"
    async with asyncio.timeout(5), mute.session.get(url, ssl=trusting(authority)) as answer:
        assert answer.status == 200


async def test_who_was_answered_and_says_no_goodbye_holds_no_stop_up(mute: World) -> None:
    async with asyncio.timeout(5):
        assert await mute.gateways[0].data.drain(30.0) == 0
