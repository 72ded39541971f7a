"""Whatever a caller sends: the agent sees at most one well-formed request for each that was
admitted, none that was refused, and no other caller ever gets its answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.keys.limits import Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import ListenerLimits, StoreSettings
from tests.flows.world import World, new_world
from tests.raw_http.cases import GROUPS, HIDDEN, ODD_BYTES, PLACES, Case, Verdict
from tests.raw_http.readers import Request, agreed, read_strictly
from tests.raw_http.recorder import Recorder, recording

PATIENCE = 10.0
# What is not whole is given up quickly, so that the tests are quick too.
HURRIED = ListenerLimits(head=0.2, body_idle=0.2, keep_alive=0.2)
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Scene:
    world: World
    agent: Recorder
    key: Key
    bystander: Key
    numbers: "count[int]"

    async def send(self, data: bytes, *, in_two: bool = False) -> list[int]:
        """The statuses of all final answers, once the gateway has closed the connection. `in_two`:
        the body follows once the agent has the head."""
        reader, writer = await asyncio.open_connection(*self.world.address)
        data = data.replace(b"{key}", self.key.text.encode())
        body_at = data.index(b"\r\n\r\n") + 4 if in_two else len(data)
        got = b""
        with closing(writer), suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                writer.write(data[:body_at])
                while in_two and not any(self.agent.connections):
                    await asyncio.sleep(0.005)
                writer.write(data[body_at:])
                while piece := await reader.read(65536):
                    got += piece
        return [s for s in map(int, STATUS.findall(got)) if s >= 200]

    async def charged(self) -> int:
        return int(await self.world.client.get(f"gw:quota:{{{self.key.id}}}:day") or 0)

    async def somebody_else_is_served(self) -> None:
        """On a new connection, and maybe on a kept one to the agent: its own answer, whole."""
        nonce = f"n{next(self.numbers)}"
        answer = await self.world.call(self.bystander, headers={"X-Nonce": nonce})
        assert (answer.status, answer.body) == (200, nonce.encode())
        assert answer.headers["X-Nonce"] == nonce


@pytest.fixture
async def scene(store: StoreSettings, client: Redis) -> AsyncIterator[Scene]:
    async with (
        recording() as agent,
        new_world(store, client, limits=HURRIED) as world,
    ):
        plans = {"counted": Plan("counted", Limits(quotas=(Quota(10**6, Window.DAY),)))}
        world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", agent.port)), plans=plans)
        key, bystander = await world.issue(plan="counted"), await world.issue()
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: raised.append(told))
        yield Scene(world, agent, key, bystander, count())
        assert not raised, "whatever is sent is answered, and is no bug"


def check(case: Case, statuses: list[int], seen: list[Request]) -> None:
    refused = not seen and all(400 <= status < 500 for status in statuses)
    forwarded = len(seen) == 1 and statuses == [200] and seen[0].body == case.body
    fine = {
        Verdict.ONCE: forwarded,
        Verdict.REFUSED: refused,
        Verdict.EITHER: forwarded or refused,
        Verdict.WAITS: refused,
    }
    assert fine[case.verdict], (case.name, statuses, seen)


@pytest.mark.parametrize("group", GROUPS)
async def test_each_request_is_refused_or_passed_on_once_and_clean(
    scene: Scene, group: str
) -> None:
    for case in GROUPS[group]:
        scene.agent.forget()
        before = await scene.charged()
        statuses = await scene.send(case.data)
        seen = scene.agent.requests
        check(case, statuses, seen)
        assert len(seen) <= await scene.charged() - before, case.name
        for request in seen:
            assert request.values(b"x-gateway-key-id") == [scene.key.id.encode()], case.name
            assert not request.values(b"authorization"), case.name
        await scene.somebody_else_is_served()


async def test_a_body_that_turns_bad_after_its_head_was_passed_on_never_looks_whole(
    scene: Scene,
) -> None:
    for case in GROUPS["chunks"]:
        if case.verdict in (Verdict.REFUSED, Verdict.WAITS):
            scene.agent.forget()
            check(case, await scene.send(case.data, in_two=True), scene.agent.requests)
            await scene.somebody_else_is_served()


@pytest.mark.parametrize("place", PLACES)
async def test_no_byte_in_a_place_where_it_matters_smuggles_anything(
    scene: Scene, place: str
) -> None:
    for byte in ODD_BYTES:
        scene.agent.forget()
        before = await scene.charged()
        statuses = await scene.send(PLACES[place].replace(b"{b}", bytes([byte])))
        seen = scene.agent.requests
        assert len(seen) <= 1, byte
        assert len(seen) <= await scene.charged() - before
        assert not [r for r in seen if b"hidden" in r.target], byte
        assert 500 not in statuses
    await scene.somebody_else_is_served()


async def test_honest_pipelined_requests_are_all_answered_in_order(scene: Scene) -> None:
    one = next(case.data for case in GROUPS["plain"] if case.name == "a GET")
    statuses = await scene.send(one * 20)
    assert statuses == [200] * 20
    assert len(scene.agent.requests) == 20


async def test_what_follows_a_refused_request_is_not_looked_at(scene: Scene) -> None:
    for group in ("two framings", "lengths", "chunks", "heads"):
        for case in GROUPS[group]:
            if case.verdict is Verdict.REFUSED:
                scene.agent.forget()
                statuses = await scene.send(case.data + HIDDEN)
                assert len(statuses) <= 1, case.name
                assert scene.agent.requests == [], case.name


SEEDS = [c.data for group in GROUPS.values() for c in group if c.verdict is not Verdict.REFUSED]
PIECES = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b":",
        b"\t",
        b" ",
        b";",
        b",",
        b"0",
        b"5",
        b"\x0b",
        b"\xa0",
        b"_",
    ),
    *(b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b": x\r\n", b" fold\r\n", b"Connection: close\r\n"),
    *(b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n", b"Expect: 100-continue\r\n", HIDDEN),
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "over", "drop", "double"]),
        st.integers(0, 2000),
        st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=2)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, number, piece in edits:
        at = number % (len(data) + 1)
        line = data.rfind(b"\n", 0, at) + 1
        match kind:
            case "put" if len(piece) > 2:
                data = data[:line] + piece + data[line:]
            case "put":
                data = data[:at] + piece + data[at:]
            case "over":
                data = data[:at] + piece + data[at + len(piece) :]
            case "drop":
                data = data[:at] + data[at + len(piece) :]
            case _:
                end = data.find(b"\n", at) + 1 or len(data)
                data = data[:end] + data[line:end] + data[end:]
    return data


@settings(max_examples=250)
@given(st.sampled_from(SEEDS), EDITS)
async def test_no_mutation_gets_more_through_than_was_admitted(
    scene: Scene, seed: bytes, edits: list[tuple[str, int, bytes]]
) -> None:
    scene.agent.forget()
    before = await scene.charged()
    statuses = await scene.send(mutated(seed, edits))
    admitted = await scene.charged() - before
    whole = 0
    for received in scene.agent.connections:
        requests, rest = read_strictly(bytes(received))
        whole += len(requests)
        if not rest:
            agreed(bytes(received))
    assert whole <= admitted
    assert statuses.count(200) <= whole
    assert 500 not in statuses
    await scene.somebody_else_is_served()
