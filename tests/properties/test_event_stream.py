"""Events are the same however their stream is cut into pieces, and whatever ends its lines."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.http.event_stream import Event, EventReader, EventTooLongError

MARK = b"\xef\xbb\xbf"
WORDS = [b"data: a", b"data:b", b"data", b"id: 7", b": note", b"event: message"]
pieces = st.sampled_from([*WORDS, b"\n", b"\r\n", b"\r", MARK])


def read(stream: bytes, cuts: list[int]) -> list[Event]:
    reader = EventReader(1000)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found: list[Event] = []
    for start, end in pairwise(places):
        found += reader.feed(stream[start:end])
    return found


@given(st.lists(pieces, max_size=20).map(b"".join), st.lists(st.integers(0, 80), max_size=6))
def test_how_the_stream_is_cut_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    assert read(stream, cuts) == read(stream, []) == read(stream, list(range(len(stream))))


@given(st.lists(pieces, max_size=20).map(b"".join))
@example(MARK + MARK + b"data: a\n\n")
@example(b"\n" + MARK + b"data: a\n\n")
def test_what_is_written_anew_reads_the_same(stream: bytes) -> None:
    events = read(stream, [])
    assert read(b"".join(event.encode() for event in events), []) == events


def test_lines_of_data_are_one_text_and_the_rest_is_kept() -> None:
    stream = b"\xef\xbb\xbfid: 1\r\ndata: {\r\ndata: }\r\n\r\n: ping\n\ndata\rdata: x\r\rdata: open"
    assert read(stream, []) == [
        Event(b"{\n}", (b"id: 1",)),
        Event(None, (b": ping",)),
        Event(b"\nx", ()),
    ]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 2000, b"data: x\n" * 200, b": x\n" * 400])
def test_an_event_that_does_not_end_is_not_held_for_ever(stream: bytes) -> None:
    reader = EventReader(1000)
    with pytest.raises(EventTooLongError):
        for at in range(0, len(stream), 10):
            list(reader.feed(stream[at : at + 10]))


def test_lines_cost_more_than_what_stands_in_them() -> None:
    """Of an event of 16 MiB in lines of one letter half a gigabyte would be held."""
    reader = EventReader(100_000)
    with pytest.raises(EventTooLongError):
        for _ in range(10):
            list(reader.feed(b"a\n" * 2000))
    assert len(reader._lines) < 10_000
