"""The frame watcher lets through what RFC 6455 allows and stops exactly before what it forbids."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.http.frames import (
    ALL_BITS,
    DEFLATE_BIT,
    MAX_IDLE_FRAMES,
    PROTOCOL_ERROR,
    TOO_BIG,
    FrameWatcher,
    close_frame,
)
from tests.protocol.http.frames import BINARY, CLOSE, KEY, MORE, PING, PONG, TEXT, frame

LIMIT = 1000


def stretched(size: int, spelled: int, payload: bytes = b"") -> bytes:
    """A masked text frame whose length is spelled in so many bytes, short enough or not."""
    mark = {2: 126, 8: 127}[spelled]
    return bytes([0x81, 0x80 | mark]) + size.to_bytes(spelled, "big") + KEY + payload


def watcher(*, masked: bool = True, limit: int = LIMIT, first: int = 0) -> FrameWatcher:
    later = first if first == ALL_BITS else 0
    return FrameWatcher(
        masked=masked, max_message=limit, clock=lambda: 0.0, first_bits=first, later_bits=later
    )


def passed(made: FrameWatcher, *pieces: bytes) -> bytes:
    return b"".join(bytes(made.feed(piece)) for piece in pieces)


def start(code: int = TEXT, size: int = 3) -> bytes:
    return frame(code, b"x" * size, fin=False)


ALLOWED = {
    "text": frame(TEXT, b"hello"),
    "empty text": frame(TEXT),
    "binary at the limit": frame(BINARY, b"x" * LIMIT),
    "length 125": frame(TEXT, b"x" * 125),
    "length 126": frame(TEXT, b"x" * 126),
    "fragments": start() + frame(MORE, b"y", fin=False) + frame(MORE, b"z"),
    "fragments up to the limit": start(TEXT, LIMIT - 1) + frame(MORE, b"z"),
    "an empty last fragment": start() + frame(MORE),
    "ping and pong between fragments": start() + frame(PING, b"p") + frame(PONG) + frame(MORE),
    "control payload of 125": frame(PING, b"p" * 125),
    "two messages, each below the limit": frame(TEXT, b"x" * 600) * 2,
    "close with a reason": frame(CLOSE, b"\x03\xe8bye"),
    "close without a status": frame(CLOSE),
    "close between fragments": start() + frame(CLOSE),
    "bytes that are no UTF-8, which is the reader's to judge": frame(TEXT, b"\xff"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_allowed_passes_unchanged(case: str) -> None:
    made = watcher()
    assert passed(made, ALLOWED[case]) == ALLOWED[case]
    assert made.fault == 0


FORBIDDEN: dict[str, tuple[bytes, bytes, int]] = {
    # What passes, what follows and does not, and the close code for its sender.
    "unmasked": (b"", frame(TEXT, b"x", masked=False), PROTOCOL_ERROR),
    "unmasked after masked": (frame(TEXT, b"x"), frame(PING, masked=False), PROTOCOL_ERROR),
    "RSV1": (b"", frame(TEXT, b"x", bits=0x40), PROTOCOL_ERROR),
    "RSV2": (b"", frame(TEXT, b"x", bits=0x20), PROTOCOL_ERROR),
    "RSV3": (b"", frame(BINARY, b"x", bits=0x10), PROTOCOL_ERROR),
    "RSV1 on a ping": (b"", frame(PING, bits=0x40), PROTOCOL_ERROR),
    "RSV1 on a close": (b"", frame(CLOSE, bits=0x40), PROTOCOL_ERROR),
    "a fragmented ping": (b"", frame(PING, fin=False), PROTOCOL_ERROR),
    "a fragmented close": (b"", frame(CLOSE, fin=False), PROTOCOL_ERROR),
    "a ping of 126": (b"", frame(PING, b"p" * 126), PROTOCOL_ERROR),
    "a ping of 70000": (b"", frame(PING, b"p" * 70000), PROTOCOL_ERROR),
    "a close of one byte": (b"", frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "a continuation of nothing": (frame(TEXT, b"x"), frame(MORE, b"y"), PROTOCOL_ERROR),
    "a continuation of nothing, unfinished": (b"", frame(MORE, fin=False), PROTOCOL_ERROR),
    "text inside of a message": (start(), frame(TEXT, b"x"), PROTOCOL_ERROR),
    "binary inside of a message": (start(), frame(BINARY, b"x", fin=False), PROTOCOL_ERROR),
    "126 spelled long": (b"", stretched(126, 8, b"x" * 126), PROTOCOL_ERROR),
    "5 spelled long": (b"", stretched(5, 2, b"x" * 5), PROTOCOL_ERROR),
    "5 spelled very long": (b"", stretched(5, 8, b"x" * 5), PROTOCOL_ERROR),
    "the highest bit of a length": (b"", stretched(2**63 + 5, 8), PROTOCOL_ERROR),
    "too big": (b"", frame(TEXT, b"x" * (LIMIT + 1)), TOO_BIG),
    "too big by far": (b"", stretched(2**62, 8), TOO_BIG),
    "too big in two": (start(TEXT, LIMIT), frame(MORE, b"x"), TOO_BIG),
    "too big after a ping": (start(TEXT, LIMIT) + frame(PING), frame(MORE, b"x"), TOO_BIG),
    "a flood of pings": (frame(PING) * MAX_IDLE_FRAMES, frame(PING), PROTOCOL_ERROR),
    "a flood of pongs": (frame(PONG, b"p") * MAX_IDLE_FRAMES, frame(PONG), PROTOCOL_ERROR),
    "a flood of empty fragments": (
        start() + frame(MORE, fin=False) * MAX_IDLE_FRAMES,
        frame(MORE, fin=False),
        PROTOCOL_ERROR,
    ),
    "a flood of empty messages": (frame(TEXT) * MAX_IDLE_FRAMES, frame(TEXT), PROTOCOL_ERROR),
} | {
    f"opcode {code:x}": (b"", frame(code, b"x"), PROTOCOL_ERROR)
    for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_is_forbidden_is_stopped_before_its_first_byte(case: str) -> None:
    good, bad, code = FORBIDDEN[case]
    made = watcher()
    assert passed(made, good + bad + frame(TEXT, b"later")) == good
    assert made.fault == code
    assert passed(made, frame(TEXT, b"much later")) == b""
    assert made.takes_close, "whoever is on the other side gets a close frame, between frames"


@pytest.mark.parametrize("case", FORBIDDEN)
def test_a_byte_at_a_time_makes_no_difference(case: str) -> None:
    good, bad, code = FORBIDDEN[case]
    made = watcher()
    data = good + bad
    assert passed(made, *(data[i : i + 1] for i in range(len(data)))) == good
    assert made.fault == code


def test_an_agents_frames_are_not_masked() -> None:
    assert passed(watcher(masked=False), frame(TEXT, b"x", masked=False)) != b""
    made = watcher(masked=False)
    assert passed(made, frame(TEXT, b"x")) == b""
    assert made.fault == PROTOCOL_ERROR


def test_a_compressed_message_is_marked_on_its_first_frame_only() -> None:
    whole = frame(TEXT, b"x", fin=False, bits=0x40) + frame(MORE, b"y")
    made = watcher(first=DEFLATE_BIT)
    assert passed(made, whole) == whole
    for bad in (
        frame(TEXT, b"x", fin=False, bits=0x40) + frame(MORE, b"y", bits=0x40),
        frame(PING, bits=0x40),
        frame(TEXT, b"x", bits=0x60),
    ):
        made = watcher(first=DEFLATE_BIT)
        passed(made, bad)
        assert made.fault == PROTOCOL_ERROR


def test_an_extension_that_is_not_known_may_use_every_reserved_bit() -> None:
    whole = frame(TEXT, b"x", fin=False, bits=0x70) + frame(PING, bits=0x10) + frame(MORE, bits=32)
    made = watcher(first=ALL_BITS)
    assert passed(made, whole) == whole
    assert made.fault == 0


def test_nothing_follows_a_close_frame() -> None:
    made = watcher()
    end = frame(CLOSE, b"\x03\xe8bye")
    assert passed(made, end[:4], end[4:7], end[7:] + frame(TEXT, b"x"), frame(PING)) == end
    assert made.closed
    assert made.fault == 0
    assert not made.takes_close, "one close frame is all there is"


def test_a_close_frame_fits_only_between_frames() -> None:
    made = watcher()
    whole = frame(BINARY, b"x" * 300)
    assert made.takes_close
    for at in range(len(whole)):
        made.feed(whole[at : at + 1])
        # The first bytes are held back, so for whoever reads, the frame has not begun.
        assert made.takes_close == (at < 3 or at == len(whole) - 1)


def test_the_payload_is_never_copied() -> None:
    made = watcher(limit=10**9)
    head = frame(BINARY, b"x" * 200_000)[:-200_000]
    first, rest = head + b"x" * 1000, b"x" * 199_000
    assert made.feed(first) is first
    assert made.feed(rest) is rest
    mixed = frame(TEXT, b"x") + head[:1]
    view = made.feed(mixed)
    assert isinstance(view, memoryview)
    assert view.obj is mixed


def test_pings_are_a_flood_only_within_a_second() -> None:
    now = 0.0
    made = FrameWatcher(masked=True, max_message=LIMIT, clock=lambda: now)
    for _ in range(5):
        made.feed(frame(PING) * MAX_IDLE_FRAMES)
        now += 1.0
    assert made.fault == 0


def test_the_close_frames_that_the_gateway_writes_are_frames() -> None:
    assert close_frame(1001) == b"\x88\x02\x03\xe9"
    masked = close_frame(1009, b"\x0a\x0b\x0c\x0d")
    assert masked == b"\x88\x82\x0a\x0b\x0c\x0d" + bytes([0x03 ^ 0x0A, 0xF1 ^ 0x0B])
    for made, data in ((watcher(masked=False), close_frame(1001)), (watcher(), masked)):
        assert passed(made, data) == data
        assert made.closed


frames = st.builds(
    frame,
    st.sampled_from([MORE, TEXT, BINARY, CLOSE, PING, PONG, 3, 11]),
    st.integers(0, 400).map(lambda size: b"x" * size),
    fin=st.booleans(),
    bits=st.sampled_from([0, 0, 0, 0x40, 0x10]),
    masked=st.sampled_from([True, True, True, True, False]),
)
streams = st.one_of(
    st.lists(frames, max_size=12).map(b"".join),
    st.lists(st.sampled_from(sorted(ALLOWED.values())), max_size=6).map(b"".join),
    st.binary(max_size=200),
)


@given(
    data=streams, cuts=st.lists(st.integers(0, 3000), max_size=20), first=st.sampled_from([0, 64])
)
def test_any_chunking_gives_the_same_verdict(data: bytes, cuts: list[int], first: int) -> None:
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(at)]
    whole, parts = watcher(first=first), watcher(first=first)
    assert passed(whole, data) == passed(parts, *pieces)
    assert (whole.fault, whole.closed, whole.takes_close) == (
        parts.fault,
        parts.closed,
        parts.takes_close,
    )
    assert data.startswith(passed(watcher(first=first), data))
