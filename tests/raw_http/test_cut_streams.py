"""However a stream of good requests is cut on its way, each is answered once and in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.proxy.client import REQUESTS_IN_A_ROW
from tests.flows.raw import PATIENCE, read_answer
from tests.flows.world import World, new_world


class Good(NamedTuple):
    """`with_next`: the next one is sent without a wait for the answer to this one. `before`: empty
    lines, which RFC 9112 section 2.2 allows there. `asks_for_http_2`: as Java's own client does."""

    kind: str
    body: bytes
    with_next: bool
    before: bytes
    asks_for_http_2: bool = False


BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n", b"12345", b"54321"]),
)
REQUESTS = st.lists(
    st.builds(
        Good,
        st.sampled_from(["GET", "sized", "chunked"]),
        BODIES,
        st.booleans(),
        st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=6)


def written(good: Good, number: int, key: Key) -> bytes:
    method = "GET" if good.kind == "GET" else "POST"
    head = (
        f"{method} /agents/echo/{number} HTTP/1.1\r\nHost: a\r\n"
        f"Authorization: Bearer {key.text}\r\n"
    ).encode()
    if good.asks_for_http_2:
        head += b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    match good.kind:
        case "GET":
            rest = b"\r\n"
        case "sized":
            rest = b"Content-Length: %d\r\n\r\n%b" % (len(good.body), good.body)
        case _:
            half = len(good.body) // 2
            pieces = [p for p in (good.body[:half], good.body[half:]) if p]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            rest = b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return good.before + head + rest


def groups(requests: Sequence[Good]) -> list[list[int]]:
    """The numbers of those that are sent together."""
    together: list[list[int]] = [[]]
    for number, good in enumerate(requests):
        together[-1].append(number)
        if not good.with_next:
            together.append([])
    return [group for group in together if group]


class Caller:
    """Sends in pieces; begins anew where the gateway has said that it closes."""

    def __init__(self, world: World, key: Key, requests: Sequence[Good]) -> None:
        self._world = world
        self._key = key
        self._requests = requests

    async def run(self, cuts: Sequence[float]) -> None:
        waiting = groups(self._requests)
        while waiting:
            waiting = await self._on_one_connection(waiting, cuts)

    async def _on_one_connection(
        self, waiting: list[list[int]], cuts: Sequence[float]
    ) -> list[list[int]]:
        """Those that have to be sent again because the connection was said to end."""
        reader, writer = await asyncio.open_connection(*self._world.address)
        with closing(writer):
            while waiting:
                group = waiting.pop(0)
                await self._send(writer, group, cuts)
                for place, number in enumerate(group):
                    if await self._is_last(reader, number):
                        # Nothing can be told apart after these but where nothing was sent yet.
                        good = self._requests[number]
                        assert good.kind == "chunked" or good.asks_for_http_2, number
                        assert len(group) > 1, "it was alone"
                        rest = group[place + 1 :]
                        return ([rest] if rest else []) + waiting
        return []

    async def _send(
        self, writer: asyncio.StreamWriter, group: list[int], cuts: Sequence[float]
    ) -> None:
        data = b"".join(written(self._requests[n], n, self._key) for n in group)
        places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
        for begin, end in pairwise(places):
            if writer.is_closing():
                # It has ended after one of them; the answers tell where.
                return
            writer.write(data[begin:end])
            # Turns of the loop that the gateway runs on too: it reads each piece by itself.
            for _ in range(4):
                await asyncio.sleep(0)

    async def _is_last(self, reader: asyncio.StreamReader, number: int) -> bool:
        async with asyncio.timeout(PATIENCE):
            answer = await read_answer(reader)
        good = self._requests[number]
        assert answer.status == 200, answer
        assert answer.json["path"] == f"/{number}"
        body = b"" if good.kind == "GET" else good.body
        assert answer.json["body"].encode("latin-1") == body
        return answer.headers.get("Connection") == "close"


@pytest.fixture
async def caller_of(store: StoreSettings, client: Redis) -> AsyncIterator[tuple[World, Key]]:
    async with new_world(store, client) as world:
        yield world, await world.issue()


@settings(max_examples=200)
@given(REQUESTS, CUTS)
async def test_every_good_request_is_answered_in_order_however_it_is_cut(
    caller_of: tuple[World, Key], requests: list[Good], cuts: list[float]
) -> None:
    await Caller(*caller_of, requests).run(cuts)


@pytest.mark.parametrize("cut", range(1, 5), ids=lambda cut: f"{cut} bytes of the head are left")
@pytest.mark.parametrize("together", [1, 2, 3])
async def test_a_head_whose_end_is_cut_hides_no_request_behind_it(
    caller_of: tuple[World, Key], cut: int, together: int
) -> None:
    """The parser holds a part of the second one while the first is answered."""
    world, key = caller_of
    requests = [Good("sized", b"%05d" % number, True, b"") for number in range(together + 2)]
    data = [written(good, number, key) for number, good in enumerate(requests)]
    at = data[1].index(b"\r\n\r\n") + 4 - cut
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(data[0] + data[1][:at])
        async with asyncio.timeout(PATIENCE):
            assert (await read_answer(reader)).json["path"] == "/0"
            writer.write(data[1][at:] + b"".join(data[2:]))
            for number, good in enumerate(requests[1:], 1):
                answer = await read_answer(reader)
                assert (answer.status, answer.json["path"]) == (200, f"/{number}")
                assert answer.json["body"] == good.body.decode()


async def test_an_empty_line_and_the_beginning_of_a_request_are_no_part_of_the_one_before(
    caller_of: tuple[World, Key],
) -> None:
    world, key = caller_of
    data = [written(Good("sized", b"12345", True, b""), number, key) for number in range(3)]
    at = data[1].index(b"\r\n\r\n") + 1
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(data[0] + data[1][:at])
        async with asyncio.timeout(PATIENCE):
            assert (await read_answer(reader)).status == 200
            # As many bytes after the empty line as the body has.
            writer.write(data[1][at:] + b"\r\n\r\n" + data[2][:5])
            assert (await read_answer(reader)).json["path"] == "/1"
            writer.write(data[2][5:])
            assert (await read_answer(reader)).json["path"] == "/2"


async def test_requests_that_wait_in_line_let_others_have_their_turn(
    caller_of: tuple[World, Key],
) -> None:
    """What needs no store is answered at once, and one read can hold thousands of them."""
    world, _ = caller_of
    number = 2000
    turns = 0
    done = asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * number)
        counting = asyncio.create_task(count())
        async with asyncio.timeout(3 * PATIENCE):
            for _ in range(number):
                assert (await read_answer(reader)).status == 401
        done.set()
        await counting
    assert turns >= number // REQUESTS_IN_A_ROW
