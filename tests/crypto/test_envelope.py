"""Credentials at rest: what the gateway wrote opens, and nothing else does."""

import copy
import json
from base64 import b64decode, b64encode
from itertools import permutations
from typing import Any

import pytest

from gateway.crypto.envelope import (
    BrokenCredentialError,
    Envelope,
    MasterKeys,
    UnknownMasterKeyError,
    latest_version,
    master_ids,
    master_key_id,
)
from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.errors import OperationError
from tests.crypto.tampering import leaves

KEY, OTHER = b"m" * 32, b"n" * 32
ENVELOPE = Envelope(MasterKeys((KEY,)))


def credential(name: str = "crm", owner: str = "", number: int = 3, **more: Any) -> Credential:
    fields = {"access_key_id": f"id-of-{name}", "access_key_secret": f"secret-{number}-of-{name}"}
    old = {"access_key_id": f"id-of-{name}", "access_key_secret": f"old-secret-of-{name}"}
    return Credential(
        CredentialId(name, owner),
        "ak_sk",
        Version(number, fields),
        Version(number - 1, old, until=2_000_000_000),
        expires_at=2_100_000_000,
        max_stale=300,
        created_at=1_700_000_000,
        created_by="ops",
        rotated_at=1_800_000_000,
        **more,
    )


def changed(record: Any, path: tuple[Any, ...], how: str) -> bytes | None:
    made = copy.deepcopy(record)
    inside = made
    for step in path[:-1]:
        inside = inside[step]
    value = inside[path[-1]]
    if how == "gone":
        del inside[path[-1]]
    elif how == "other kind":
        inside[path[-1]] = [value]
    elif isinstance(value, str):
        inside[path[-1]] = value[:-1] + ("A" if value[-1:] != "A" else "B") if value else "x"
    elif isinstance(value, int):
        inside[path[-1]] = value + 1
    elif value is None:
        inside[path[-1]] = 1
    else:
        return None
    return json.dumps(made).encode()


def test_what_was_sealed_opens_with_everything_it_had() -> None:
    for one in (
        credential(),
        credential(owner="u.1@x"),
        Credential(CredentialId("ab"), "custom", Version(1, {"value": "ü\n€"})),
    ):
        assert ENVELOPE.open(one.id, ENVELOPE.seal(one)) == one


# Of version 0.1.0; vaults hold such records.
SEALED = (
    b'{"created_at":1700000000,"created_by":"ops","expires_at":2100000000,"format":1,'
    b'"max_stale":300,"rotated_at":1800000000,"seal":"5/bAEXdujbfNMwtUeX+9KWPn3FUw9r4RKPdDUg==",'
    b'"type":"api_key","versions":[{"fields":{"value":"1HNeOiZeFu7gP1lxH/2pC+/rk5FeZnIOEGXJArDQ3A=='
    b'"},"key":"a4ayc/80/OGda4BOjpnWlL6Zv+1ZxTdvbIwnQl5t+jiDDSq5OO6EJi49fPdEmmkcWLfWfH6Ir+5gU668",'
    b'"master":"67caf959","until":null,"version":2},{"fields":{"value":"7y0SfeN7lCuq0GFFSG0f05nw5MI9'
    b'J5OSAdH/Geudmw=="},"key":"SyJ3d9TdH8Ycb4hPJer4o0wtg9WlkeU6nZvrIbJw9pwgpILMZw1Yowi1mVAc0PVEr/MyH'
    b'RpElQN0yXZN","master":"67caf959","until":2000000000,"version":1}]}'
)


def test_what_an_earlier_version_sealed_opens() -> None:
    opened = ENVELOPE.open(CredentialId("crm", "u1"), SEALED)
    assert (opened.type, opened.current) == ("api_key", Version(2, {"value": "new"}))
    assert opened.previous == Version(1, {"value": "old"}, until=2_000_000_000)
    assert (opened.max_stale, opened.created_by) == (300, "ops")


def test_each_field_of_a_record_that_is_changed_is_noticed_and_the_credential_named() -> None:
    blob = ENVELOPE.seal(credential())
    record = json.loads(blob)
    tried = 0
    for path in leaves(record):
        for how in ("gone", "other kind", "changed"):
            edited = changed(record, path, how)
            if edited is None:
                continue
            tried += 1
            with pytest.raises(BrokenCredentialError, match="'crm'"):
                ENVELOPE.open(CredentialId("crm"), edited)
    assert tried > 60
    assert ENVELOPE.open(CredentialId("crm"), blob) == credential()


def test_every_byte_that_is_flipped_is_noticed() -> None:
    blob = ENVELOPE.seal(credential())
    for at in range(len(blob)):
        for bit in (0x01, 0x20, 0x80):
            edited = blob[:at] + bytes([blob[at] ^ bit]) + blob[at + 1 :]
            with pytest.raises(BrokenCredentialError, match="'crm'"):
                ENVELOPE.open(CredentialId("crm"), edited)


def test_a_record_that_is_cut_short_is_noticed() -> None:
    blob = ENVELOPE.seal(credential())
    for length in range(len(blob)):
        with pytest.raises(BrokenCredentialError):
            ENVELOPE.open(CredentialId("crm"), blob[:length])


@pytest.mark.parametrize("blob", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b"1e999"])
def test_what_is_no_record_is_refused_with_a_sentence(blob: bytes) -> None:
    with pytest.raises(BrokenCredentialError, match=r"'crm' is refused: .*\."):
        ENVELOPE.open(CredentialId("crm"), blob)
    assert (latest_version(blob), master_ids(blob)) == (0, frozenset())


def test_no_record_opens_under_another_name_or_owner() -> None:
    all_of_them = [credential(f"c{i}") for i in range(40)]
    all_of_them += [credential("c1", owner=f"u{i}") for i in range(10)]
    blobs = {one.id: ENVELOPE.seal(one) for one in all_of_them}
    for mine, theirs in permutations(blobs, 2):
        with pytest.raises(BrokenCredentialError):
            ENVELOPE.open(mine, blobs[theirs])


def test_no_ciphertext_opens_in_the_place_of_another_and_the_error_says_which_it_is() -> None:
    """Within a record, from an older version, and from another credential."""
    now, older = credential(), credential(number=2)
    record, old = json.loads(ENVELOPE.seal(now)), json.loads(ENVELOPE.seal(older))
    other = json.loads(ENVELOPE.seal(credential("other")))
    of_a_user = json.loads(ENVELOPE.seal(credential(owner="u1")))
    swaps = [
        (("versions", 0, "fields", "access_key_secret"), record["versions"][0]["fields"], "id"),
        (("versions", 0, "fields", "access_key_secret"), record["versions"][1]["fields"], "secret"),
        (("versions", 0, "fields", "access_key_secret"), old["versions"][0]["fields"], "secret"),
        (("versions", 0, "fields", "access_key_secret"), other["versions"][0]["fields"], "secret"),
    ]
    for path, source, which in swaps:
        edited = copy.deepcopy(record)
        edited["versions"][0]["fields"]["access_key_secret"] = source[f"access_key_{which}"]
        with pytest.raises(BrokenCredentialError, match="'access_key_secret' of version 3"):
            ENVELOPE.open(now.id, json.dumps(edited).encode())
        assert path
    elsewhere = (one["versions"][0] for one in (old, other, of_a_user))
    for version in (record["versions"][1], *elsewhere):
        edited = copy.deepcopy(record)
        edited["versions"][0] = {**version, "version": 3, "until": None}
        with pytest.raises(BrokenCredentialError, match="data key"):
            ENVELOPE.open(now.id, json.dumps(edited).encode())
        edited["versions"][0] = version
        with pytest.raises(BrokenCredentialError):
            ENVELOPE.open(now.id, json.dumps(edited).encode())


def test_a_record_of_no_version_or_of_a_third_is_refused() -> None:
    record = json.loads(ENVELOPE.seal(credential()))
    versions = record["versions"]
    for edited in ([], [*versions, versions[1]]):
        blob = json.dumps({**record, "versions": edited}).encode()
        with pytest.raises(BrokenCredentialError, match="'crm'"):
            ENVELOPE.open(CredentialId("crm"), blob)
        assert latest_version(blob) == 0


def test_a_longer_grace_cannot_be_written_in() -> None:
    record = json.loads(ENVELOPE.seal(credential()))
    record["versions"][1]["until"] += 3600
    with pytest.raises(BrokenCredentialError, match="settings"):
        ENVELOPE.open(CredentialId("crm"), json.dumps(record).encode())


def test_an_unknown_master_key_is_named_and_is_no_tampering() -> None:
    blob = ENVELOPE.seal(credential())
    assert master_ids(blob) == {master_key_id(KEY)}
    with pytest.raises(UnknownMasterKeyError, match=master_key_id(KEY)):
        Envelope(MasterKeys((OTHER,))).open(CredentialId("crm"), blob)
    with pytest.raises(UnknownMasterKeyError):
        Envelope(MasterKeys()).open(CredentialId("crm"), blob)


def test_the_first_master_key_writes_and_each_of_them_reads() -> None:
    both = Envelope(MasterKeys((OTHER, KEY)))
    assert both.open(CredentialId("crm"), ENVELOPE.seal(credential())) == credential()
    assert master_ids(both.seal(credential())) == {master_key_id(OTHER)}


def test_without_a_master_key_nothing_is_written() -> None:
    with pytest.raises(OperationError, match="master key"):
        Envelope(MasterKeys()).seal(credential())


def test_no_nonce_and_no_data_key_is_ever_used_twice() -> None:
    drawn: list[bytes] = []

    def draw(size: int) -> bytes:
        import os

        drawn.append(os.urandom(size))
        return drawn[-1]

    envelope = Envelope(MasterKeys((KEY,)), draw)
    blobs = [json.loads(envelope.seal(credential())) for _ in range(200)]
    assert len(set(drawn)) == len(drawn) == 200 * (2 + 2 * 3 + 1)
    texts = [blob["seal"] for blob in blobs]
    texts += [v["key"] for blob in blobs for v in blob["versions"]]
    texts += [t for blob in blobs for v in blob["versions"] for t in v["fields"].values()]
    nonces = [b64decode(text)[:12] for text in texts]
    assert len(set(nonces)) == len(nonces)


def test_neither_keys_nor_values_show_in_a_repr_or_an_error() -> None:
    keys = MasterKeys((KEY,))
    shown = repr(keys) + repr(Envelope(keys)) + str(keys)
    assert KEY.decode() not in shown and b64encode(KEY).decode() not in shown
    record = json.loads(ENVELOPE.seal(credential()))
    record["seal"] = record["versions"][0]["key"]
    with pytest.raises(BrokenCredentialError) as refused:
        ENVELOPE.open(CredentialId("crm"), json.dumps(record).encode())
    assert "secret-3-of-crm" not in f"{refused.value!r}{refused.value}"
    assert refused.value.__cause__ is None


def test_a_record_holds_no_value_in_any_spelling() -> None:
    blob = ENVELOPE.seal(credential())
    for value in ("secret-3-of-crm", "id-of-crm", "old-secret-of-crm"):
        for offset in range(3):
            assert b64encode(b" " * offset + value.encode())[4:16] not in blob
        assert value.encode() not in blob and value.encode().hex().encode() not in blob


def test_a_record_without_what_its_type_needs_is_refused_though_it_was_sealed() -> None:
    lacking = Credential(CredentialId("crm"), "ak_sk", Version(1, {"access_key_id": "id"}))
    with pytest.raises(BrokenCredentialError, match="access_key_secret"):
        ENVELOPE.open(lacking.id, ENVELOPE.seal(lacking))
