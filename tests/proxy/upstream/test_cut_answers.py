"""However answers are cut on their way and whenever they are read, each is what its agent sent, or
visibly cut, and none has a byte of another."""

import asyncio
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import Denied
from gateway.proxy.body import Body
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import CutError, UpstreamConnection, UpstreamLostError


class Sent(NamedTuple):
    """An answer. `framing`: sized, chunked or ended with the connection. `interim`: answers before
    it. `read_after`: turns of the event loop until it is read, while about as many pieces come."""

    framing: str
    size: int
    chunk: int
    interim: int
    trailers: bytes
    cuts: list[float]
    read_after: int

    def body(self, letter: int) -> bytes:
        return bytes([letter]) * self.size

    def wire(self, letter: int) -> bytes:
        body = self.body(letter)
        begin = b"HTTP/1.1 103 X\r\n\r\n" * self.interim + b"HTTP/1.1 200 OK\r\n"
        match self.framing:
            case "sized":
                return begin + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            case "chunked":
                pieces = (body[at : at + self.chunk] for at in range(0, len(body), self.chunk))
                chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
                head = begin + b"Transfer-Encoding: chunked\r\n\r\n"
                return head + chunks + b"0\r\n" + self.trailers + b"\r\n"
            case _:
                return begin + b"\r\n" + body


ANSWERS = st.builds(
    Sent,
    st.sampled_from(["sized", "chunked", "ended"]),
    st.sampled_from([0, 40, 65_536, 200_000]),
    st.sampled_from([17, 1000, 70_000]),
    st.integers(0, 3),
    st.sampled_from([b"", b"", b"X-T: y\r\n"]),
    st.lists(st.floats(0, 1), max_size=4),
    st.sampled_from([0, 1, 9]),
)


class Wire(asyncio.Transport):
    """Holds back what comes while reading is paused, as the system does."""

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.reading = asyncio.Event()
        self.reading.set()

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False
        self.reading.set()

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()


async def arrive(wire: Wire, connection: UpstreamConnection, sent: Sent, data: bytes) -> None:
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in sent.cuts)})
    for begin, end in pairwise(places):
        await wire.reading.wait()
        if wire.open:
            connection.data_received(data[begin:end])
        await asyncio.sleep(0)


async def read(arrived: "asyncio.Future[tuple[object, Body]]", sent: Sent, into: bytearray) -> None:
    for _ in range(sent.read_after):
        await asyncio.sleep(0)
    body = (await arrived)[1]
    while piece := await body.readany():
        into += piece
    if (error := body.exception()) is not None:
        raise error


@given(answers=st.lists(ANSWERS, min_size=1, max_size=3), end=st.floats(0, 1), said=st.booleans())
@settings(max_examples=150)
async def test_each_is_what_the_agent_sent_or_visibly_cut(
    answers: list[Sent], end: float, said: bool
) -> None:
    """The connection ends within the last one; `said`: the agent ended it, and not a reset."""
    loop, wire = asyncio.get_running_loop(), Wire()
    connection = UpstreamConnection(loop, [], lambda _: None, Outbox(loop))
    connection.connection_made(wire)
    for number, sent in enumerate(answers):
        data, body = sent.wire(65 + number), sent.body(65 + number)
        last = number == len(answers) - 1 or sent.framing == "ended"
        part = data[: round(end * len(data))] if last else data
        got = bytearray()
        reading = asyncio.create_task(read(connection.expect_answer(bodiless=False), sent, got))
        async with asyncio.timeout(10):
            await arrive(wire, connection, sent, part)
            if last:
                if said:
                    connection.eof_received()
                connection.connection_lost(None if said else ConnectionResetError())
            try:
                await reading
            except (CutError, Denied, UpstreamLostError):
                assert last and body.startswith(got)
                assert len(part) < len(data) or (sent.framing == "ended" and not said)
            else:
                assert got == body[: len(got)]
                if sent.framing == "ended":
                    assert said and len(got) == len(part) - (len(data) - len(body))
                else:
                    assert got == body and len(part) == len(data)
        if last:
            break
        assert connection.reusable
