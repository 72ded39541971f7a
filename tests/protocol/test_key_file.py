"""A file of keys is read whole or not at all."""

import json

import pytest

from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.expiry import LATEST_EXPIRY
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
    ("changes", "reason"),
    [
        ({"status": None}, "status is not there as a text."),
        ({"id": 7}, "id is not there as a text."),
        ({"colour": "red"}, "There is a field that no record has (colour)."),
        # It may be a secret in the wrong place.
        ({"agk_live: x": ""}, "There is a field that no record has."),
        ({"removed_at": LATEST_EXPIRY}, ""),
        ({"removed_at": 0}, ""),
        *(
            ({"removed_at": wrong}, "removed_at is neither null nor a Unix time in seconds.")
            for wrong in (-1, LATEST_EXPIRY + 1, 1.5, True, "5")
        ),
    ],
)
def test_a_record_that_is_none_is_told_of_in_its_line(
    changes: dict[str, object], reason: str
) -> None:
    changed = json.dumps(json.loads(LINES[1]) | changes).encode() + b"\n"
    (line,) = read(LINES[0] + changed + LINES[2])
    assert (line.found if isinstance(line.found, str) else "") == reason


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
