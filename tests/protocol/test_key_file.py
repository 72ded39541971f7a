"""A file of keys is read whole or not at all."""

import pytest

from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.record import KeyRecord
from gateway.protocol import key_file
from gateway.protocol.key_file import KeyFileError

COPY = KeyCopy(KeyRecord("4xT9mQ2LrB7c", consumer="a", scopes="*"), None)
LINES = [f"{line}\n".encode() for line in (key_file.head(), key_file.line(COPY), key_file.tail(1))]
WHOLE = b"".join(LINES)


def read(content: bytes) -> list[key_file.Line]:
    return list(key_file.read(content.splitlines(keepends=True)))


def test_what_was_written_is_read() -> None:
    assert read(WHOLE) == [key_file.Line(2, COPY)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\xff\xfe\n", "line 1 is not one JSON object with each name once"),
        (b'{"id": "4xT9mQ2LrB7c", "key": "agk_"}\n', "it does not begin as"),
        (WHOLE[:-3], "line 3 is not one JSON object"),
        (b"".join(LINES[:2]), "its last line, which says how many records it holds, is missing"),
        (WHOLE + WHOLE, "line 4 comes after the last one"),
        (WHOLE.replace(b'"records": 1', b'"records": 2'), "it holds 1 records, and its last line"),
        (WHOLE.replace(b'"gateway_keys": 1', b'"gateway_keys": 2'), "its version is not 1"),
        (WHOLE.replace(b'"gateway_keys": 1', b'"gateway_keys": true'), "its version is not 1"),
        (WHOLE.replace(b'"status"', b'"id": "000000000000", "status"'), "line 2 is not one JSON"),
        (b"x" * 70_000, "line 1 is longer than 65536 bytes"),
        (b"[" * 60_000, "line 1 is not one JSON object"),
    ],
)
def test_what_is_none_or_not_whole_is_refused_with_what_is_wrong(
    content: bytes, reason: str
) -> None:
    with pytest.raises(KeyFileError, match=reason):
        read(content)
