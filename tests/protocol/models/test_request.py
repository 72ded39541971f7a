"""Which model a body asks for: in one way, whoever reads it, or not at all."""

import gzip
import json
import zlib

import pytest

from gateway.domain.errors import Denied
from gateway.domain.policies.services import Dialect
from gateway.protocol.models.request import (
    MOST_BESIDE,
    check_query,
    read_path,
    read_prompt,
    sent_as_read,
)

UNCLEAR = [
    pytest.param(b'{"model": "cheap", "model": "dear"}', id="named twice"),
    pytest.param(b'{"model": "cheap", "m\\u006fdel": "dear"}', id="named twice, once escaped"),
    pytest.param(b'{"model": "cheap", "Model": "dear"}', id="once more in capitals"),
    pytest.param(b'{"model": "cheap", "messages": [{"a": 1, "a": 2}]}', id="twice further in"),
    pytest.param(b'{"model": "cheap", "top_p": NaN}', id="a number that is none"),
    pytest.param(b'{"model": "cheap", "top_p": 1e999}', id="a number that no float holds"),
    pytest.param(b'{"model": "cheap"} {"model": "dear"}', id="two documents"),
    pytest.param(b'\xef\xbb\xbf{"model": "cheap"}', id="a byte order mark"),
    pytest.param('{"model": "cheap"}'.encode("utf-16"), id="no UTF-8"),
    pytest.param(b'{"model": "cheap", "x": "\xff"}', id="bytes that are no text"),
    pytest.param(b'{"model": ["cheap"]}', id="a list"),
    pytest.param(b'["model", "cheap"]', id="no object"),
    pytest.param(b"[" * 100_000, id="too deep"),
    pytest.param(b'{"model": "cheap", "x": [' + b"1," * 500_001 + b"1]}", id="too many values"),
    pytest.param(b"", id="nothing"),
]


@pytest.mark.parametrize("body", UNCLEAR)
def test_a_body_that_two_readers_could_take_differently_is_refused(body: bytes) -> None:
    with pytest.raises(Denied) as refusal:
        read_prompt(body)
    assert refusal.value.denial.status == 400
    assert refusal.value.denial.name == "bad_request"


def test_the_model_of_a_body_is_the_one_that_it_names() -> None:
    body = b'{"messages": [{"role": "user", "content": "model"}], "model": "cheap", "n": 1.5}'
    assert read_prompt(body).model == "cheap"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"fallbacks": [{"model": "dear", "max_tokens": 1}, {"model": "b"}]}, ("dear", "b")),
        ({"fallbacks": ["dear", "dear"]}, ("dear",)),
        ({"Context_Window_Fallbacks": [{"Model": "dear"}]}, ("dear",)),
        ({"fallbacks": [{"cheap": ["dear", "b"]}, {"*": [{"model": "c"}]}]}, ("dear", "b", "c")),
        ({"fallbacks": [{"cheap": ["dear"], "model": "cheap"}]}, ("cheap", "dear")),
        ({"fallbacks": [{"model": "b", "messages": [{"role": "user"}], "stop": ["?"]}]}, ("b",)),
        ({"fallbacks": [{"model": "b", "tools": [{"model": "dear"}]}]}, ("b", "dear")),
        ({"context_window_fallback_dict": {"cheap": "dear"}}, ("dear",)),
        ({"disable_fallbacks": True, "max_fallbacks": 2, "fallbacks": False}, ()),
        ({"models": ["dear"]}, ("dear",)),
        ({"models": "dear"}, ("dear",)),
        ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "dear"}]}, ("dear",)),
        ({"tools": [{"type": "function", "function": {"name": "model"}}, {"model": None}]}, ()),
        ({"fallbacks": None, "models": [], "tools": None}, ()),
        ({"messages": [{"models": ["dear"]}], "metadata": {"fallbacks": ["dear"]}}, ()),
    ],
)
def test_what_may_answer_in_its_place_or_is_asked_by_tools_is_named_too(
    more: dict[str, object], named: tuple[str, ...]
) -> None:
    assert read_prompt(json.dumps({"model": "cheap", **more}).encode()).beside == named


@pytest.mark.parametrize(
    "more",
    [
        {"fallbacks": "the default"},
        {"fallbacks": [["dear"]]},
        {"fallbacks": [1]},
        {"fallbacks": [{"cheap": [["dear"]]}]},
        {"models": ["openai/dear"]},
        {"models": {"model": {}}},
        {"tools": [{"model": ["dear"]}]},
        {"models": [f"m{i}" for i in range(MOST_BESIDE + 1)]},
    ],
)
def test_further_models_are_named_by_name_or_the_body_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(Denied, match="each needs its scope"):
        read_prompt(json.dumps({"model": "cheap", **more}).encode())


@pytest.mark.parametrize(
    "query", ["?model=dear", "?a=1&MODEL", "?mod%65l=dear", "?a=1;model=dear", "?model[]=dear"]
)
def test_no_model_is_named_in_a_query(query: str) -> None:
    with pytest.raises(Denied, match="in the body alone"):
        check_query(query.encode())
    check_query(b"?api-version=1&models=2&a=model")
    check_query(b"")


@pytest.mark.parametrize("name", ["", "*", "a/b", "-x", "x" * 129, "cheap ", "a:b", "\u212a"])
def test_what_cannot_be_the_name_of_a_model_is_none(name: str) -> None:
    with pytest.raises(Denied):
        read_prompt(json.dumps({"model": name}).encode())


OPENAI, ANTHROPIC = Dialect.OPENAI, Dialect.ANTHROPIC


@pytest.mark.parametrize(
    ("path", "dialect", "left", "listed", "is_call"),
    [
        ("/models/v1/chat/completions", OPENAI, "/chat/completions", None, True),
        ("/models/v1/chat/completions/", OPENAI, "/chat/completions/", None, True),
        ("/models/chat/completions", OPENAI, "/chat/completions", None, True),
        ("/models/anthropic/v1/messages", ANTHROPIC, "/v1/messages", None, True),
        ("/models/v1/models", OPENAI, "/v1/models", "", False),
        ("/models/v1/models/a%2Db", OPENAI, "/v1/models/a%2Db", "a-b", False),
        ("/models/anthropic/v1/models", ANTHROPIC, "/v1/models", "", False),
        # The provider's own secret may do more there than one call of one model.
        ("/models/v1/batches", OPENAI, "/batches", None, False),
        ("/models/v1/files", OPENAI, "/files", None, False),
        ("/models/v1/chat/completions/x", OPENAI, "/chat/completions/x", None, False),
        ("/models/v1/modelsx", OPENAI, "/modelsx", None, False),
        ("/models/v1x/embeddings", OPENAI, "/v1x/embeddings", None, False),
        ("/models/anthropicx/v1/messages", OPENAI, "/anthropicx/v1/messages", None, False),
        ("/models/anthropic/v1/messages/batches", ANTHROPIC, "/v1/messages/batches", None, False),
        ("/models/v1", OPENAI, "/", None, False),
    ],
)
def test_a_model_is_called_at_the_paths_that_are_calls_alone(
    path: str, dialect: Dialect, left: str, listed: str | None, is_call: bool
) -> None:
    found = read_path(path.encode())
    assert (found.dialect, found.path, found.listed) == (dialect, left.encode(), listed)
    assert found.is_call is is_call


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_compressed_body_is_refused_as_one(kind: str) -> None:
    headers = [(b"Content-Type", kind.encode()), (b"Content-Encoding", b"deflate")]
    for squeezed in (gzip.compress(b'{"model": "a"}'), zlib.compress(b'{"model": "a"}')):
        with pytest.raises(Denied, match="send it uncompressed"):
            read_prompt(squeezed, headers)
        with pytest.raises(Denied, match=r"'model' names a model|can be read in one way only"):
            read_prompt(squeezed, headers[:1])


def test_what_was_read_as_json_is_told_to_be_json_and_a_form_is_left_as_it_is() -> None:
    other = (b"X-A", b"1")
    sent = [(b"content-type", b"text/plain; charset=utf-7"), (b"Content-Encoding", b"gzip"), other]
    assert sent_as_read(sent) == [other, (b"Content-Type", b"application/json")]
    form = (b"Content-Type", b"multipart/form-data; boundary=x")
    assert sent_as_read([form, (b"content-encoding", b"gzip")]) == [form]
