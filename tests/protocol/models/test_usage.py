"""What an answer's stream says that it took is found and, where nobody asked for it, taken out,
however the stream is cut into pieces."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.usage import TokensUsed
from gateway.protocol import strict_json
from gateway.protocol.models.request import read_prompt
from gateway.protocol.models.usage import MOST_HELD, StreamMeter, WholeMeter, with_usage_report

PATH = b"/chat/completions"
WORD = b'data: {"choices":[{"delta":{"content":"say \\"usage\\": 7"}}],"usage":null}'
# What the provider says of a usage that it is to tell later goes too.
UNASKED = WORD.replace(b',"usage":null', b"")
TOLD = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}'
DONE = b"data: [DONE]"
BESIDE = b'data: {"choices":[{"delta":{}}],\ndata: "usage" :\ndata: {"prompt_tokens":2}}'


def metered(pieces: list[bytes], *, hide: bool = True) -> tuple[bytes, TokensUsed]:
    meter = StreamMeter(PATH, 40, hide=hide)
    shown = b"".join([*map(meter.feed, pieces), meter.end()])
    return shown, meter.used()


def in_pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_event_that_nobody_asked_for_goes_wherever_the_stream_is_cut(end: bytes) -> None:
    whole = b"".join(event + end for event in (b": ping", WORD, WORD, TOLD, DONE))
    rest = b"".join(event + end for event in (b": ping", UNASKED, UNASKED, DONE))
    for cut in range(len(whole)):
        assert metered(in_pieces(whole, [cut])) == (rest, TokensUsed(2, 3, 5))
    assert metered(in_pieces(whole, [*range(len(whole))])) == (rest, TokensUsed(2, 3, 5))
    assert metered([whole], hide=False) == (whole, TokensUsed(2, 3, 5))


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (b'{"usage" : null, "choices":[1]}', b'{"choices":[1]}'),
        (b'{"choices":[1] ,\n"usage":null}', b'{"choices":[1] }'),
        (b'{\ndata: "usage": null,\ndata: "id": 1}', b'{\ndata: \ndata: "id": 1}'),
        (rb'{"choices":["a,\"usage\":null,"]}', rb'{"choices":["a,\"usage\":null,"]}'),
        (b'{"choices":[1],"usage":{"total_tokens":null}}',) * 2,
    ],
)
def test_that_there_is_nothing_to_tell_yet_is_told_to_those_alone_who_asked(
    event: bytes, shown: bytes
) -> None:
    whole = b"data: " + event + b"\n\n"
    assert metered([whole])[0] == b"data: " + shown + b"\n\n"
    assert metered([whole], hide=False)[0] == whole


@given(
    events=st.lists(st.sampled_from([WORD, TOLD, DONE, BESIDE, b": ping", b""]), max_size=6),
    ends=st.lists(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n"]), min_size=6, max_size=6),
    cuts=st.lists(st.integers(0, 900), max_size=6),
    hide=st.booleans(),
)
@example(events=[b"", b"", TOLD], ends=[b"\n\n", b"\n", b"\r\r"], cuts=[3], hide=True)
def test_how_the_stream_is_cut_changes_nothing(
    events: list[bytes], ends: list[bytes], cuts: list[int], hide: bool
) -> None:
    text = b"".join(event + end for event, end in zip(events, ends, strict=False))
    shown, used = metered(in_pieces(text, cuts), hide=hide)
    assert (shown, used) == metered([text], hide=hide)
    if not hide:
        assert shown == text


def test_what_tells_beside_an_answer_is_shown() -> None:
    whole = BESIDE + b"\n\n"
    assert metered([whole]) == (whole, TokensUsed(2, 0, 2))


def test_where_nobody_tells_each_event_counts_as_a_token() -> None:
    whole = b": ping\n\n" + 3 * (b"event: word\n" + WORD + b"\n\n")
    assert metered([whole]) == (whole.replace(WORD, UNASKED), TokensUsed(10, 3, 13, estimated=True))
    assert metered(in_pieces(whole, [*range(len(whole))]))[1].completion == 3


def test_an_event_that_does_not_end_is_not_held_for_ever() -> None:
    meter = StreamMeter(PATH, 0, hide=True)
    assert meter.feed(b"data: " + MOST_HELD * b"x") == b"data: " + MOST_HELD * b"x"


def told(body: bytes, path: bytes = PATH) -> bytes | None:
    return with_usage_report(path, body, read_prompt(body).members)


def test_a_stream_is_asked_to_tell_and_the_rest_of_the_body_stays_as_it_came() -> None:
    body = b' \r\n{ "model": "m", "stream" : true, "n": 1e0, "messages": [ "\\u00fc" ] } '
    assert told(body) == b'{"stream_options":{"include_usage":true},' + body.lstrip()[1:]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (b'{"include_usage": false, "other": 1}', {"include_usage": True, "other": 1}),
        (b"null", {"include_usage": True}),
        (b'"all"', {"include_usage": True}),
    ],
)
def test_what_a_caller_says_of_its_stream_stays_beside_it(options: bytes, asked: object) -> None:
    body = b'{"model": "m", "stream": true, "stream_options": %b, "n": 2}' % options
    sent = strict_json.read(told(body) or b"")
    assert sent == {"model": "m", "stream": True, "stream_options": asked, "n": 2}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, b'{"model": "m"}'),
        (PATH, b'{"model": "m", "stream": false}'),
        (PATH, b'{"model": "m", "stream": true, "stream_options": {"include_usage": true}}'),
        (b"/responses", b'{"model": "m", "stream": true}'),
    ],
)
def test_who_tells_anyway_or_does_not_stream_is_asked_nothing(path: bytes, body: bytes) -> None:
    assert told(body, path) is None


MESSAGES = b"/v1/messages"
RESPONSES = b"/responses"


def event(**data: Any) -> bytes:
    return b"event: x\ndata: %b\n\n" % json.dumps(data).encode()


STARTED = event(type="message_start", message={"usage": {"input_tokens": 25, "output_tokens": 1}})
SAID = event(type="content_block_delta", delta={"text": "word"})
DELTA = event(type="message_delta", usage={"output_tokens": 15})
STOPPED = event(type="message_stop")


@pytest.mark.parametrize(
    ("events", "ended", "used"),
    [
        # What its first event says of the answer is where it began, and not what it took.
        ([STARTED, *[SAID] * 90], False, TokensUsed(25, 91, 116, estimated=True)),
        ([STARTED, *[SAID] * 90, DELTA], False, TokensUsed(25, 15, 40)),
        ([STARTED, *[SAID] * 90, DELTA, STOPPED], True, TokensUsed(25, 15, 40)),
    ],
)
def test_a_stream_that_breaks_off_has_taken_what_came_of_it(
    events: list[bytes], ended: bool, used: TokensUsed
) -> None:
    meter = StreamMeter(MESSAGES, 100, hide=False)
    assert b"".join(map(meter.feed, events)) == b"".join(events)
    if ended:
        meter.end()
    assert meter.used() == used


@pytest.mark.parametrize("size", [1000, 70_000, MOST_HELD + 1])
def test_an_event_that_is_too_long_to_hold_tells_all_the_same(size: int) -> None:
    """The last one of a response has all of the answer in it, pictures too."""
    usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    response = {"output": [{"result": "A" * 3 * MOST_HELD}], "usage": usage, "metadata": {"a": "b"}}
    stream = SAID + event(type="response.completed", response=response) + SAID
    meter = StreamMeter(RESPONSES, 100, hide=False)
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    assert b"".join(map(meter.feed, pieces)) + meter.end() == stream
    assert meter.used() == TokensUsed(7, 5, 12)


def test_what_is_embedded_takes_what_was_sent_however_long_its_vectors_are() -> None:
    meter = WholeMeter(b"/embeddings", 100)
    meter.feed(json.dumps({"data": [{"embedding": [0.5] * 3000}]}).encode())
    assert meter.used() == TokensUsed(25, 0, 25, estimated=True)


def whole(path: bytes, *pieces: bytes) -> TokensUsed:
    meter = WholeMeter(path, 40)
    assert b"".join(map(meter.feed, pieces)) == b"".join(pieces)
    assert meter.end() == b""
    return meter.used()


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 9}, TokensUsed(2, 3, 9)),
        ({"prompt_tokens": 2, "completion_tokens": 3}, TokensUsed(2, 3, 5)),
        ({"input_tokens": 2, "output_tokens": 3}, TokensUsed(2, 3, 5)),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 300,
                "output_tokens": 4,
            },
            TokensUsed(321, 4, 325),
        ),
        ({"prompt_tokens": 2, "completion_tokens": 10**12}, TokensUsed(2, 0, 2)),
        ({"prompt_tokens": 2, "completion_tokens": -5}, TokensUsed(2, 0, 2)),
        ({"prompt_tokens": 2, "completion_tokens": True}, TokensUsed(2, 0, 2)),
        ({"prompt_tokens": 2, "completion_tokens": 1.0}, TokensUsed(2, 0, 2)),
    ],
)
def test_all_that_a_provider_says_was_taken_counts_and_nothing_that_cannot_be(
    usage: dict[str, Any], used: TokensUsed
) -> None:
    """What is read from a provider's cache, too; a number that overflows would end the counting."""
    for told in ({"usage": usage}, {"response": {"usage": usage}}, {"message": {"usage": usage}}):
        assert whole(PATH, json.dumps(told).encode()) == used


def test_a_long_answer_tells_at_its_end() -> None:
    begin = b'{"choices":[{"message":{"content":"'
    end = b'"}}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}'
    text = [b"x" * 2**16] * (2 * MOST_HELD // 2**16)
    assert whole(PATH, begin, *text, end) == TokensUsed(2, 3, 5)
    assert whole(PATH, begin, *text, end[:-5]).estimated
    assert whole(PATH, begin, *text, b'"usage":' + b"[" * 10_000).estimated


@pytest.mark.parametrize("path", [b"/moderations", b"/images/generations", b"/audio/speech"])
def test_what_takes_no_tokens_is_guessed_to_take_none(path: bytes) -> None:
    assert whole(path, b"x" * 1000) == TokensUsed()
    assert whole(PATH, b"x" * 1000) == TokensUsed(10, 250, 260, estimated=True)


@pytest.mark.parametrize("asked", [1, "true", None, {}])
def test_whoever_asks_to_be_told_in_a_way_of_its_own_is_told(asked: object) -> None:
    members = {"stream": True, "stream_options": {"include_usage": asked, "x": 1}}
    made = with_usage_report(PATH, json.dumps(members).encode(), members)
    assert made is not None
    assert json.loads(made)["stream_options"] == {"include_usage": True, "x": 1}


def test_what_says_more_than_what_was_taken_is_shown() -> None:
    for event in (b'data: {"usage":{"prompt_tokens":2}}', b'data: {"choices":0,"usage":{"x":1}}'):
        assert metered([event + b"\n\n"])[0] == event + b"\n\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_goes_on_as_soon_as_its_end_is_there(end: bytes) -> None:
    for cut in range(1, len(end)):
        meter = StreamMeter(PATH, 40, hide=True)
        shown = meter.feed(WORD + end[:cut]) + meter.feed(end[cut:] + b"data: ")
        assert shown == UNASKED + end
