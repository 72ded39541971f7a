"""Several upstreams, TLS to them, proxies on the way, and addresses that must not be called."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from gateway.domain.errors import Code
from gateway.domain.policies.snapshot import ClientTls, Timeouts, Upstream
from gateway.proxy.upstream.balance import FAILURES_TO_EJECT
from tests.flows.agents import agent_that, says
from tests.flows.refusals import check
from tests.flows.upstreams import Reply, agent_app, at, files, named, secure, server_side
from tests.flows.world import World
from tests.starved import no_more_files

PATIENCE = 10.0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def test_the_load_is_spread_over_all_upstreams(world: World, stack: AsyncExitStack) -> None:
    ports = [await stack.enter_async_context(agent_app(named(name))) for name in "abc"]
    world.serve(world.agent(upstreams=tuple(map(at, ports))))
    key = await world.issue()
    answers = [await world.call(key) for _ in range(30)]
    assert Counter(answer.body for answer in answers) == {b"a": 10, b"b": 10, b"c": 10}


async def test_the_least_busy_upstream_is_asked(world: World, stack: AsyncExitStack) -> None:
    release, taken = asyncio.Event(), asyncio.Queue[str]()

    def waiting(name: str) -> Reply:
        async def reply(request: web.Request) -> web.Response:
            if request.path == "/wait":
                taken.put_nowait(name)
                await release.wait()
            return web.Response(text=name)

        return reply

    ports = [await stack.enter_async_context(agent_app(waiting(name))) for name in "ab"]
    world.serve(world.agent(upstreams=tuple(map(at, ports))))
    key = await world.issue()
    held = [asyncio.create_task(world.call(key, "/agents/echo/wait"))]
    busy = await taken.get()
    answers = [await world.call(key) for _ in range(4)]
    assert {answer.body.decode() for answer in answers} == {"a", "b"} - {busy}
    release.set()
    await asyncio.gather(*held)


async def test_where_one_upstream_is_down_the_other_answers_everything(
    world: World, stack: AsyncExitStack, unused_tcp_port: int
) -> None:
    port = await stack.enter_async_context(agent_app(named("alive")))
    world.serve(world.agent(upstreams=(at(unused_tcp_port), at(port))))
    key = await world.issue()
    for method in ("GET", "POST") * 6:
        answer = await world.call(key, method=method, data=b"once" if method == "POST" else None)
        assert (answer.status, answer.body) == (200, b"alive")


async def test_where_one_upstream_has_died_what_was_on_its_way_there_is_asked_of_the_other(
    world: World, stack: AsyncExitStack
) -> None:
    """Where it may be sent twice, and a kept connection turns out to be dead."""

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndying")
        server.close()
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(die, "127.0.0.1", 0)
    port = await stack.enter_async_context(agent_app(named("alive")))
    world.serve(world.agent(upstreams=(at(server.sockets[0].getsockname()[1]), at(port))))
    key = await world.issue()
    answers = [await world.call(key) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    assert Counter(answer.body for answer in answers) == {b"dying": 1, b"alive": 5}


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where connections are neither taken nor refused: all places to wait are taken."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_who_waits_for_a_connection_counts_as_busy_there(
    world: World, stack: AsyncExitStack, mute: int
) -> None:
    """Else an upstream that does not even refuse would be the least busy one, for everybody."""
    port = await stack.enter_async_context(agent_app(named("alive")))
    timeouts = Timeouts(connect=PATIENCE)
    world.serve(world.agent(upstreams=(at(mute), at(port)), timeouts=timeouts))
    key = await world.issue()
    stuck = []
    for _ in range(10):
        call = asyncio.create_task(world.call(key))
        done, _ = await asyncio.wait([call], timeout=0.3)
        stuck += [] if done else [call]
    for call in stuck:
        call.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    assert len(stuck) == 1


async def test_a_request_that_may_have_been_heard_is_not_sent_to_another_upstream(
    world: World, stack: AsyncExitStack
) -> None:
    heard: list[str] = []

    async def hang_up(request: web.Request) -> web.Response:
        heard.append(await request.text())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    ports = [await stack.enter_async_context(agent_app(hang_up)) for _ in range(2)]
    world.serve(world.agent(upstreams=tuple(map(at, ports))))
    answer = await world.call(await world.issue(), method="POST", data=b"pay")
    check(answer, Code.UPSTREAM_UNREACHABLE)
    assert heard == ["pay"]


async def test_an_upstream_that_answers_nonsense_is_left_out(
    world: World, stack: AsyncExitStack
) -> None:
    """That a head came is no success yet: it has to be one that can be passed on."""
    odd = says(b"HTTP/1.1 200 OK\r\nX-A: \x01\r\nContent-Length: 0\r\n\r\n")
    good = at(await stack.enter_async_context(agent_app(named("good"))))
    world.serve(world.agent(upstreams=(await stack.enter_async_context(agent_that(odd)), good)))
    key = await world.issue()
    answers = Counter([(await world.call(key)).status for _ in range(20)])
    assert answers == {200: 20 - FAILURES_TO_EJECT, 502: FAILURES_TO_EJECT}


async def test_no_upstream_is_left_out_for_the_files_that_the_gateway_lacks(
    world: World, stack: AsyncExitStack
) -> None:
    replies = [named(name, kept=False) for name in "ab"]
    ports = [await stack.enter_async_context(agent_app(reply)) for reply in replies]
    world.serve(world.agent(upstreams=tuple(map(at, ports))))
    key = await world.issue()
    # The caller's own connection is there from now on.
    assert (await world.call(key)).status == 200
    with no_more_files():
        for _ in range(FAILURES_TO_EJECT):
            check(await world.call(key), Code.UPSTREAM_UNREACHABLE)
    answers = Counter([(await world.call(key)).body for _ in range(20)])
    assert answers == {b"a": 10, b"b": 10}


async def test_where_all_upstreams_are_down_the_caller_is_told(
    world: World, unused_tcp_port_factory: Callable[[], int]
) -> None:
    world.serve(world.agent(upstreams=tuple(at(unused_tcp_port_factory()) for _ in range(3))))
    for _ in range(5):
        check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_an_upstream_with_an_authority_of_its_own_is_believed(
    world: World, stack: AsyncExitStack, authority: trustme.CA, tmp_path: Path
) -> None:
    context = server_side(authority, "localhost")
    port = await stack.enter_async_context(agent_app(named("secret"), ssl_context=context))
    tls = ClientTls(ca=files(tmp_path, authority, "gateway").ca)
    world.serve(world.agent(upstream=secure(port, tls=tls)))
    assert (await world.call(await world.issue())).body == b"secret"


async def test_an_upstream_that_asks_gets_the_gateways_certificate(
    world: World, stack: AsyncExitStack, authority: trustme.CA, tmp_path: Path
) -> None:
    context = server_side(authority, "localhost", ask=True)
    port = await stack.enter_async_context(agent_app(named("known"), ssl_context=context))
    tls = files(tmp_path, authority, "gateway")
    world.serve(world.agent(upstream=secure(port, tls=tls)))
    assert (await world.call(await world.issue())).body == b"known"
    world.serve(world.agent(upstream=secure(port, tls=ClientTls(ca=tls.ca))))
    check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)


@pytest.mark.parametrize("wrong", ["name", "authority", "no authority"])
async def test_an_upstream_that_cannot_prove_who_it_is_gets_nothing(
    world: World, stack: AsyncExitStack, authority: trustme.CA, tmp_path: Path, wrong: str
) -> None:
    heard: list[str] = []

    async def reply(request: web.Request) -> web.Response:
        heard.append(request.path)
        return web.Response()

    name = "elsewhere.test" if wrong == "name" else "localhost"
    context = server_side(trustme.CA() if wrong == "authority" else authority, name)
    port = await stack.enter_async_context(agent_app(reply, ssl_context=context))
    ca = "" if wrong == "no authority" else files(tmp_path, authority, "gateway").ca
    world.serve(world.agent(upstream=secure(port, tls=ClientTls(ca=ca))))
    check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)
    assert heard == []


async def test_a_renewed_client_certificate_is_used_without_a_restart(
    world: World, stack: AsyncExitStack, authority: trustme.CA, tmp_path: Path
) -> None:
    context = server_side(authority, "localhost", ask=True)
    port = await stack.enter_async_context(agent_app(named("known"), ssl_context=context))
    tls = files(tmp_path, authority, "gateway")
    stranger = files(tmp_path, trustme.CA(), "stranger")
    upstream = secure(port, tls=ClientTls(tls.ca, stranger.cert, stranger.key))
    world.serve(world.agent(upstream=upstream))
    check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)
    for new, old in ((tls.cert, stranger.cert), (tls.key, stranger.key)):
        Path(new).replace(old)
    assert (await world.call(await world.issue())).body == b"known"


async def test_a_pair_of_which_one_half_is_renewed_leaves_the_pair_before_in_use(
    world: World, stack: AsyncExitStack, authority: trustme.CA, tmp_path: Path
) -> None:
    """Nobody can replace two files at once."""
    context, reply = server_side(authority, "localhost", ask=True), named("known", kept=False)
    port = await stack.enter_async_context(agent_app(reply, ssl_context=context))
    tls, renewed = files(tmp_path, authority, "gateway"), files(tmp_path, authority, "renewed")
    world.serve(world.agent(upstream=secure(port, tls=tls)))
    for half in (None, (renewed.cert, tls.cert), (renewed.key, tls.key)):
        if half is not None:
            Path(half[0]).replace(half[1])
        assert (await world.call(await world.issue())).body == b"known", half


@pytest.mark.parametrize("said", [True, False], ids=["said", "not said"])
async def test_only_the_agents_own_word_in_tls_ends_an_answer_without_a_length(
    world: World, authority: trustme.CA, tmp_path: Path, said: bool
) -> None:
    """Anybody on the way can end the TCP below, and what was cut there must not look whole."""
    read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await read.wait()
        if not said:
            below = os.dup(writer.get_extra_info("socket").fileno())
            with socket.socket(fileno=below) as tcp:
                tcp.shutdown(socket.SHUT_WR)
        writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=server_side(authority, "localhost")
    )
    tls = ClientTls(ca=files(tmp_path, authority, "gateway").ca)
    world.serve(world.agent(upstream=secure(server.sockets[0].getsockname()[1], tls=tls)))
    headers = {"Authorization": f"Bearer {(await world.issue()).text}"}
    with closing(server):
        async with world.session.get(f"{world.url}/agents/echo/x", headers=headers) as answer:
            assert await answer.content.readexactly(5) == b"hello"
            read.set()
            whole = True
            try:
                await answer.read()
            except aiohttp.ClientError:
                whole = False
            assert whole is said


@asynccontextmanager
async def connect_proxy(status: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A proxy that knows CONNECT and nothing else; the list has the heads that it was sent."""
    heads: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        writer.write(b"HTTP/1.1 %b\r\n\r\n" % status)
        host, _, port = head.split(b" ")[1].partition(b":")
        inner, outer = await asyncio.open_connection(host.decode(), int(port))
        await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


@pytest.mark.parametrize(
    ("scheme", "status"), [("http", b"200 OK"), ("https", b"200"), ("http", b"204 Opened")]
)
async def test_a_proxy_tunnels_and_sees_no_request(
    world: World,
    stack: AsyncExitStack,
    authority: trustme.CA,
    tmp_path: Path,
    scheme: str,
    status: bytes,
) -> None:
    how = {"ssl_context": server_side(authority, "localhost")} if scheme == "https" else {}
    port = await stack.enter_async_context(agent_app(named("far"), **how))
    proxy, heads = await stack.enter_async_context(connect_proxy(status))
    ca = files(tmp_path, authority, "gateway").ca if how else ""
    where = {"tls": ClientTls(ca=ca), "proxy": ("127.0.0.1", proxy)}
    upstream = secure(port, **where) if how else Upstream("http", "localhost", port, **where)  # type: ignore[arg-type]
    world.serve(world.agent(upstream=upstream))
    key = await world.issue()
    for _ in range(2):
        assert (await world.call(key)).body == b"far"
    assert heads == [b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % (port, port)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refused the tunnel"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "refused the tunnel"),
        (b"nonsense\r\n\r\n", "refused the tunnel"),
        # What the upstream cannot have said yet.
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", "refused the tunnel"),
        (b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 9000, "answer does not end"),
        (b"", "closed the connection"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_an_upstream_out_of_reach(
    world: World, answer: bytes, why: str
) -> None:
    key = await world.issue()
    async with agent_that(says(answer, then_close=not answer)) as proxy:
        world.serve(world.agent(upstream=at(1, proxy=(proxy.host, proxy.port))))
        with capture_logs() as logs:
            check(await world.call(key), Code.UPSTREAM_UNREACHABLE)
    assert any(why in str(event.get("reason", "")) for event in logs)


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "fe80::1"])
async def test_addresses_of_metadata_are_not_dialled_however_they_are_spelled(
    world: World, host: str
) -> None:
    world.serve(world.agent(upstream=Upstream("http", host, 80), timeouts=Timeouts(connect=0.5)))
    check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)
