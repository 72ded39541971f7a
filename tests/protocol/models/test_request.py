"""Which model a body asks for: in one way, whoever reads it, or not at all."""

import pytest

from gateway.domain.errors import Denied
from gateway.protocol.models.request import read_prompt

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
