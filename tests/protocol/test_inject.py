"""What is put into a request stands alone there: nothing of the caller's is under its name."""

import gzip
import json

import pytest

from gateway.domain.errors import Denied
from gateway.protocol.inject import (
    check_look_alikes,
    check_parameters,
    makes_body,
    names_of,
    with_fields,
    with_headers,
    with_query,
)

PUT_IN = [(b"X-Api_Key.Id", b"ours")]
JSON = [(b"Content-Type", b"application/json")]


@pytest.mark.parametrize(
    "name",
    [b"x-api_key.id", b"X-API-KEY-ID", b"x_api_key_id", b"X.Api.Key.Id", b"x-api-key.id"],
)
def test_of_a_header_that_is_put_in_no_other_spelling_is_left(name: bytes) -> None:
    other = (b"X-Api-Key", b"theirs")
    assert with_headers([(name, b"theirs"), other], PUT_IN) == [other, *PUT_IN]


def test_a_name_that_another_reader_takes_for_one_that_is_put_in_is_refused() -> None:
    names = names_of([(b"X-Token", b"ours")])
    check_look_alikes([(b"x-TOKEN", b"a"), (b"X-Tokens", b"a")], names)
    others = [(b"Accept", b"a"), (b"x_api.key", b"a")]
    check_look_alikes(others, names_of([(b"X_Api.Key", b"ours")]))
    for name in (b"X_Token", b"x.token"):
        with pytest.raises(Denied):
            check_look_alikes([(name, b"a")], names)


@pytest.mark.parametrize(
    "item",
    [
        *("key=theirs", "Key=theirs", "KEY", "%6bey=theirs", "%4B%45y=theirs", "key=", "k%65y"),
        *("key[]=theirs", "key%5B0%5D=theirs", "KEY[a][b]", "key;a=1", "key=theirs;a=1"),
    ],
)
def test_of_a_parameter_that_is_put_in_no_other_spelling_is_left(item: str) -> None:
    query = f"?a=%2f+b&{item}&&monkey=1&{item}".encode()
    for name in ("key", "Key"):
        put_in = f"?a=%2f+b&monkey=1&{name}=ours".encode()
        assert with_query(query, [(name, "ours")]) == put_in


def test_behind_a_semicolon_there_is_none_that_some_would_read_first() -> None:
    put_in = [("key", "ours")]
    for query in (b"?a=1;key=theirs", b"?;key", b"?b&a=1;b;K%65y[]=theirs&c"):
        with pytest.raises(Denied, match="%3B"):
            check_parameters(query, put_in)
        check_parameters(query, [])
    for query in (b"", b"?a=1;b=2", b"?key=theirs;key=theirs", b"?a=1%3Bkey=2", b"?a=;monkey=1"):
        check_parameters(query, put_in)


def test_a_name_that_is_one_of_a_list_is_found_as_it_is_written() -> None:
    put_in = [("filter[account]", "ours")]
    found = with_query(b"?filter[account]=a&filter%5bACCOUNT%5d=b&filter[x]=c&filter=d", put_in)
    assert found == b"?filter[x]=c&filter=d&filter%5Baccount%5D=ours"


def test_a_name_with_a_blank_is_found_as_forms_spell_it() -> None:
    assert with_query(b"?a+b=1&a%20b=2&ab=3", [("a b", "x")]) == b"?ab=3&a%20b=x"


def test_a_value_that_is_put_in_is_one_value() -> None:
    assert with_query(b"", [("a&b", "x&y=/#%?")]) == b"?a%26b=x%26y%3D%2F%23%25%3F"
    assert with_query(b"?a=1&&b", []) == b"?a=1&&b"


@pytest.mark.parametrize("name", ["key", "Key", "\u212aey"])
def test_of_a_field_that_is_put_in_no_other_spelling_is_left(name: str) -> None:
    body = json.dumps({name: "theirs", "a": 1}).encode()
    assert json.loads(with_fields(body, JSON, [("key", "ours")])) == {"a": 1, "key": "ours"}
    assert json.loads(with_fields(body, JSON, [("KEY", "ours")])) == {"a": 1, "KEY": "ours"}


@pytest.mark.parametrize("kind", [b"text/plain", b"application/jsonp", b""])
def test_nothing_is_put_into_what_is_not_said_to_be_json(kind: bytes) -> None:
    """Whoever reads it as something else would be sent the secret in another place."""
    with pytest.raises(Denied):
        with_fields(b"{}", [(b"Content-Type", kind)], [("key", "ours")])


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b" ", b'{"a":1,"a":2}', b'{"a":NaN}'])
def test_nothing_is_put_into_what_is_no_object(body: bytes) -> None:
    with pytest.raises(Denied):
        with_fields(body, JSON, [("key", "ours")])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "DELETE"])
@pytest.mark.parametrize("kind", [b"application/json", b"application/x-www-form-urlencoded"])
def test_a_field_is_the_whole_body_where_one_is_usual(method: str, kind: bytes) -> None:
    headers = [(b"Content-Type", kind + b"; charset=utf-8")]
    assert makes_body(method, headers) is (method in ("POST", "PUT", "PATCH"))
    assert not makes_body(method, [*headers, (b"Content-Encoding", b"gzip")])
    assert not makes_body(method, []) and not makes_body(method, [(b"Content-Type", b"text/plain")])
    assert with_fields(b"", headers, [("key", "ours")]) in (b'{"key":"ours"}', b"key=ours")


def test_any_kind_of_json_takes_a_field() -> None:
    for kind in (b"text/json", b"application/merge-patch+json; charset=utf-8"):
        assert with_fields(b"{}", [(b"content-type", kind)], [("a", "b")]) == b'{"a":"b"}'


FORM = [(b"Content-Type", b"application/x-www-form-urlencoded; charset=UTF-8")]


@pytest.mark.parametrize("item", ["key=theirs", "K%65y=theirs", "key[]=theirs", "key", "&&"])
def test_a_form_that_is_spelled_as_a_query_takes_a_field_and_keeps_the_rest(item: str) -> None:
    body = f"a=1+%2b&{item}&a=2".encode()
    assert with_fields(body, FORM, [("key", "o&r=s")]) == b"a=1+%2b&a=2&key=o%26r%3Ds"


@pytest.mark.parametrize("body", [b"a=1;key=theirs", b"&".join([b"a"] * 1001)])
def test_a_form_that_readers_part_in_two_ways_or_in_very_many_is_refused(body: bytes) -> None:
    with pytest.raises(Denied):
        with_fields(body, FORM, [("key", "ours")])


def test_a_form_that_is_compressed_is_refused_as_a_json_object_is() -> None:
    """What is put in would be behind the end of it, and no reader would find a form."""
    headers = [*FORM, (b"Content-Encoding", b"gzip")]
    for kind in (headers, [(b"Content-Type", b"application/json"), headers[1]]):
        with pytest.raises(Denied):
            with_fields(gzip.compress(b"a=1"), kind, [("key", "ours")])
