"""Which model a body asks for: in one way, whoever reads it, or not at all."""

import json

import pytest

from gateway.domain.errors import Denied
from gateway.domain.policies.services import Dialect
from gateway.protocol.models.request import read_path, read_prompt, sent_as_read

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


def test_what_was_read_as_json_is_told_to_be_json_and_a_form_is_left_as_it_is() -> None:
    other = (b"X-A", b"1")
    sent = [(b"content-type", b"text/plain; charset=utf-7"), (b"Content-Encoding", b"gzip"), other]
    assert sent_as_read(sent) == [other, (b"Content-Type", b"application/json")]
    form = (b"Content-Type", b"multipart/form-data; boundary=x")
    assert sent_as_read([form, (b"content-encoding", b"gzip")]) == [form]
