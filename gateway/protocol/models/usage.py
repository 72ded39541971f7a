"""The tokens that an answer took, as it reports them, in OpenAI's dialects and in Anthropic's."""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Protocol

import orjson

from gateway.domain.usage import TokensUsed
from gateway.protocol import strict_json
from gateway.protocol.http.target import route_path

# Of longer answers only the tail is read: the usage stands at the end.
MOST_HELD, TAIL = 2**20, 2**14
# No call takes more; a larger number could overflow the counters.
MOST_TOKENS = 10**9
# The usual estimate for English text, where no usage is reported.
BYTES_A_TOKEN = 4
# Calls that take tokens even if the answer does not say so.
_TOKEN_CALLS = frozenset(
    {
        b"/chat/completions",
        b"/completions",
        b"/responses",
        b"/embeddings",
        b"/v1/messages",
    }
)
_STREAMS = frozenset({b"/chat/completions", b"/completions"})
# Embeddings are answered with numbers, which take no tokens.
_EMBEDDINGS = b"/embeddings"
_ENDS = (b"\r\n\r\n", b"\n\n", b"\r\r")
_END = re.compile(b"|".join(_ENDS))
_USAGE = b'"usage"'
_PLAUSIBLE = range(MOST_TOKENS + 1)
# A provider that is asked to report at the end sends `"usage": null` in every event before.
_USAGE_REPORT = re.compile(rb'"usage"(?!\s*:\s*null)')
# Within a JSON string the quotes would be escaped, so this matches no content.
# It ends within its line: each line of an event begins with its name.
_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,[ \t]*')
_DATA = b"data:"
_DATA_LINES = (b"\n" + _DATA, b"\r" + _DATA)


def with_usage_report(path: bytes, body: bytes, members: Mapping[str, Any]) -> bytes | None:
    """Return `body`, which has these `members`, with a request to report the usage at the end of
    the stream; None: it has that already, or needs none."""
    # A lenient provider may take other values for true.
    if not members.get("stream") or _call(path) not in _STREAMS:
        return None
    if "stream_options" not in members:
        # The rest stays byte for byte: writing a long body takes as long as reading it.
        return b'{"stream_options":{"include_usage":true},' + body.lstrip()[1:]
    options = members["stream_options"]
    known = options if isinstance(options, dict) else {}
    if known.get("include_usage") is True:
        return None
    return strict_json.encode({**members, "stream_options": {**known, "include_usage": True}})


def _call(path: bytes) -> bytes:
    """Return `path` as a provider may read it: compared as routes are."""
    return b"/" + b"/".join(route_path(path).segments)


class Meter(Protocol):
    """`feed` the pieces of an answer, then `end`; the caller is shown what they return."""

    def feed(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def used(self) -> TokensUsed: ...


class WholeMeter:
    """Counts the tokens of an answer that is one JSON document, which passes unchanged."""

    def __init__(self, path: bytes, prompt: int) -> None:
        self._guess = _Guess(path, prompt)
        self._held = bytearray()
        self._whole = True

    def feed(self, piece: bytes) -> bytes:
        self._guess.bytes += len(piece)
        self._held += piece
        if len(self._held) > MOST_HELD:
            self._whole = False
            del self._held[:-TAIL]
        return piece

    def end(self) -> bytes:
        return b""

    def used(self) -> TokensUsed:
        found = _in_whole(bytes(self._held)) if self._whole else _in_tail(bytes(self._held))
        return tokens_used(found) if found else self._guess.used()


class StreamMeter:
    """Counts the tokens of an event stream. `hide`: the caller did not ask for the usage, so it is
    taken out."""

    def __init__(self, path: bytes, prompt: int, *, hide: bool) -> None:
        self._guess = _Guess(path, prompt)
        self._hide = hide
        self._held = b""
        # The tail of an event that is too long to hold.
        self._passed = b""
        self._usage: dict[str, int] = {}
        # Events since the usage was last reported.
        self._since_report = 0
        self._ended = False

    def feed(self, piece: bytes) -> bytes:
        text = self._held + piece
        # A separator may have begun in what was held.
        end = _end_of_events(text, max(0, len(self._held) - 3))
        too_long = len(text) - end > MOST_HELD
        if too_long:
            end = len(text)
        self._held = text[end:]
        shown = self._look(text[:end]) if end else b""
        if too_long:
            self._passed = text[-TAIL:]
        return shown

    def end(self) -> bytes:
        self._ended = True
        rest, self._held = self._held, b""
        return self._look(rest)

    def used(self) -> TokensUsed:
        if not self._usage:
            return self._guess.used()
        found, more = tokens_used(self._usage), self._since_report
        if self._ended or not more:
            return found
        # Anthropic's first event reports the prompt, and of the answer only that it has begun.
        return TokensUsed(found.prompt, found.completion + more, found.total + more, estimated=True)

    def _look(self, events: bytes) -> bytes:
        """Return the part of the events that is shown."""
        shown = self._without_reports(events)
        return _NO_USAGE.sub(b"", shown) if self._hide and _USAGE in shown else shown

    def _without_reports(self, events: bytes) -> bytes:
        """Return the events without those that only report the usage, if those are hidden."""
        if not self._passed and _USAGE_REPORT.search(events) is None:
            self._count(events)
            return events
        ends = [0, *(found.end() for found in _END.finditer(events)), len(events)]
        each = (events[begin:end] for begin, end in pairwise(ends))
        return b"".join(
            _blank(one) if self._only_reports(one) and self._hide else one for one in each
        )

    def _only_reports(self, event: bytes) -> bool:
        """Count an event and keep the usage it reports; return whether it does nothing else."""
        self._count(event)
        passed, self._passed = self._passed, b""
        if passed:
            self._keep(_in_tail(passed + event))
            return False
        if _USAGE_REPORT.search(event) is None:
            return False
        lines = (line for line in event.splitlines() if line.startswith(_DATA))
        data = _loaded(b"\n".join(line[5:] for line in lines))
        found = _usage_in(data)
        self._keep(found)
        return bool(found) and data.get("choices") == []

    def _count(self, events: bytes) -> None:
        more = events.startswith(_DATA) + sum(map(events.count, _DATA_LINES))
        self._guess.events += more
        self._since_report += more

    def _keep(self, found: dict[str, int]) -> None:
        if found:
            self._since_report = 0
        self._usage.update(found)


def _end_of_events(text: bytes, since: int) -> int:
    """Return the end of the last complete event in `text`, looked for from `since` on; 0 if there
    is none."""
    if text.endswith(_ENDS):
        return len(text)
    ends = ((text.rfind(mark, since), len(mark)) for mark in _ENDS)
    return max(at + length if at >= 0 else 0 for at, length in ends)


def _blank(event: bytes) -> bytes:
    """Return only the empty lines before the event: they end the previous one if the pieces were
    cut there."""
    return event[: len(event) - len(event.lstrip(b"\r\n"))]


class _Guess:
    """An estimate, for answers without a usage report or whose caller left before it."""

    __slots__ = ("_answers", "_counts", "_prompt", "bytes", "events")

    def __init__(self, path: bytes, prompt: int) -> None:
        call = _call(path)
        self._counts = call in _TOKEN_CALLS
        self._answers = call != _EMBEDDINGS
        self._prompt = prompt
        self.bytes = self.events = 0

    def used(self) -> TokensUsed:
        if not self._counts:
            return TokensUsed()
        prompt = -(-self._prompt // BYTES_A_TOKEN)
        # An event of a stream carries about one token.
        completion = (self.events or -(-self.bytes // BYTES_A_TOKEN)) if self._answers else 0
        return TokensUsed(prompt, completion, prompt + completion, estimated=True)


def tokens_used(usage: dict[str, int]) -> TokensUsed:
    """Return the tokens that a provider's `usage` reports."""

    def number(*names: str) -> int:
        return sum(usage.get(name, 0) for name in names)

    prompt = number("prompt_tokens") or number(
        "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
    )
    completion = number("completion_tokens") or number("output_tokens")
    return TokensUsed(prompt, completion, number("total_tokens") or prompt + completion)


def _in_whole(text: bytes) -> dict[str, int]:
    return _usage_in(_loaded(text)) if _USAGE in text else {}


def _in_tail(text: bytes) -> dict[str, int]:
    _, found, rest = text.rpartition(_USAGE)
    if not found:
        return {}
    after = rest.decode("utf-8", "replace").lstrip(" \t\r\n:")
    try:
        usage, _ = json.JSONDecoder().raw_decode(after)
    except (ValueError, RecursionError):
        return {}
    return _numbers(usage)


def _usage_in(data: dict[str, Any]) -> dict[str, int]:
    for place in (data, data.get("response"), data.get("message")):
        usage = place.get("usage") if isinstance(place, dict) else None
        if isinstance(usage, dict):
            return _numbers(usage)
    return {}


def _numbers(usage: Any) -> dict[str, int]:
    """Return the members that are plausible numbers of tokens; others count as not reported."""
    found = usage.items() if isinstance(usage, dict) else ()
    return {name: value for name, value in found if type(value) is int and value in _PLAUSIBLE}


def _loaded(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
