"""What a credential may be called and hold."""

import pytest

from gateway.domain.credentials import (
    LONGEST_VALUE,
    TYPES,
    Credential,
    CredentialId,
    Version,
    check_fields,
    parse_id,
)

FIELDS = {
    "api_key": {"value": "k"},
    "bearer": {"value": "k"},
    "basic": {"username": "u", "password": "p"},
    "ak_sk": {"access_key_id": "a", "access_key_secret": "s"},
    "headers": {"X-Token": "t", "X-Other": "o"},
    "oauth2": {"token_url": "https://t.example", "client_id": "c", "client_secret": "s"},
    "database": {"url": "postgresql://u:p@h/d"},
    "custom": {"anything": "v", "pem": "-----BEGIN\nKEY-----"},
    "canary": {"value": "v"},
}


@pytest.mark.parametrize("text", ["openai_key", "ab", "a" * 63, "user/u.1@x-y/github"])
def test_an_id_reads_back_as_it_was_written(text: str) -> None:
    assert str(parse_id(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "A1", "1a", "a-b", "a.b", "a" * 64, "ab\n", "ä1"),
        *("user/", "user/u", "user//ab", "user/u/", "user/u/a/b", "user/u v/ab", "other/u/ab"),
    ],
)
def test_a_name_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"credential"):
        parse_id(text)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_takes_its_fields(name: str) -> None:
    check_fields(name, FIELDS[name])


@pytest.mark.parametrize("name", [n for n in TYPES if not TYPES[n].free])
def test_a_field_that_is_missing_or_unknown_is_refused(name: str) -> None:
    fields = FIELDS[name]
    for left_out in fields:
        with pytest.raises(ValueError, match="field"):
            check_fields(name, {k: v for k, v in fields.items() if k != left_out})
    with pytest.raises(ValueError, match="fields"):
        check_fields(name, {**fields, "other": "v"})


def test_a_database_is_one_url_or_its_five_parts_and_not_both() -> None:
    parts = {"host": "h", "port": "1", "username": "u", "password": "p", "name": "d"}
    check_fields("database", parts)
    with pytest.raises(ValueError, match="fields"):
        check_fields("database", {**parts, "url": "postgresql://h"})


@pytest.mark.parametrize("value", ["", "a\r\nX: y", "a\nb", "a\0b", "\u20ac", "\udc80", "\x7f"])
def test_a_value_that_no_header_can_carry_is_refused_without_being_repeated(value: str) -> None:
    for name, fields in (
        ("api_key", {"value": value}),
        ("headers", {"X-A": value}),
        ("ak_sk", {"access_key_id": value, "access_key_secret": "s"}),
    ):
        with pytest.raises(ValueError, match="field") as refused:
            check_fields(name, fields)
        assert not value or value not in str(refused.value)


def test_a_text_of_several_lines_is_led_to_the_type_that_takes_it() -> None:
    pem = {"value": "-----BEGIN\nKEY-----"}
    with pytest.raises(ValueError, match="type custom"):
        check_fields("api_key", pem)
    check_fields("custom", pem)


@pytest.mark.parametrize("half", ["\ud800", "\udc80", "\udfff"])
def test_a_value_that_is_no_text_is_refused_of_every_type(half: str) -> None:
    """It could not be encrypted, as UTF-8 has no bytes for it."""
    check_fields("custom", {"value": "\ud7ff\ue000"})
    with pytest.raises(ValueError, match="not UTF-8 text"):
        check_fields("custom", {"value": f"a{half}"})


def test_a_value_has_a_longest_length_and_a_field_a_name() -> None:
    check_fields("custom", {"value": "x" * LONGEST_VALUE})
    with pytest.raises(ValueError, match="longer"):
        check_fields("custom", {"value": "x" * (LONGEST_VALUE + 1)})
    with pytest.raises(ValueError, match="name"):
        check_fields("custom", {"a b": "x"})
    with pytest.raises(ValueError, match="at most"):
        check_fields("custom", {f"f{i}": "x" for i in range(65)})


def test_the_previous_version_lives_until_its_grace_ends() -> None:
    versions = Version(2, {"value": "new"}), Version(1, {"value": "old"}, until=100)
    credential = Credential(CredentialId("ab"), "api_key", *versions)
    assert credential.previous_at(99.9) == versions[1]
    assert credential.previous_at(100) is None


def test_no_value_is_in_a_repr() -> None:
    version = Version(2, {"value": "marked-secret"})
    credential = Credential(CredentialId("ab"), "api_key", version, version)
    assert "marked-secret" not in f"{credential!r}{credential}{version!r}"
