"""What is told of a key: its state as a request would meet it, and never a hash or a tag."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys.record import KeyRecord, field_names, from_fields
from gateway.domain.keys.views import State, view
from tests.phc import PHC

NOW = 1_800_000_000
LIVE = KeyRecord("4xT9mQ2LrB7c", hash=PHC, tag="TAG", status="active", consumer="sales")


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (LIVE, State.ACTIVE),
        (replace(LIVE, status="revoked"), State.REVOKED),
        (replace(LIVE, status="disabled"), State.DISABLED),
        (replace(LIVE, status="paused"), State.DISABLED),
        (replace(LIVE, status=""), State.DISABLED),
        (replace(LIVE, status="Active"), State.DISABLED),
        (replace(LIVE, expires_at=f"{NOW}"), State.EXPIRED),
        (replace(LIVE, expires_at=f"{NOW + 1}"), State.ACTIVE),
        (replace(LIVE, expires_at="1", status="disabled"), State.DISABLED),
        (replace(LIVE, expires_at="1", status="revoked"), State.REVOKED),
        (replace(LIVE, expires_at="soon"), State.MISCONFIGURED),
        (replace(LIVE, limits="rate=fast"), State.MISCONFIGURED),
        (replace(LIVE, hash=""), State.UNUSABLE),
        (replace(LIVE, hash="junk"), State.UNUSABLE),
        (replace(LIVE, hash=PHC.replace("19456", "99999")), State.UNUSABLE),
        (replace(LIVE, hash="", status="revoked"), State.UNUSABLE),
    ],
)
def test_the_state_is_what_a_request_would_meet(record: KeyRecord, state: State) -> None:
    key = view(record, NOW)
    assert key.state is state
    assert key.status == record.status
    assert bool(key.problem) is (state in (State.MISCONFIGURED, State.UNUSABLE))


def test_a_grace_is_told_only_while_the_old_secret_works() -> None:
    rotated = replace(LIVE, previous_hash="OLD", previous_expires_at=f"{NOW + 5}")
    assert view(rotated, NOW).grace_until == NOW + 5
    assert view(rotated, NOW + 5).grace_until is None
    assert view(replace(rotated, previous_hash=""), NOW).grace_until is None
    assert view(replace(rotated, previous_expires_at="later"), NOW).grace_until is None


@given(st.fixed_dictionaries({name: st.text() for name in field_names()}))
def test_any_record_can_be_told_without_its_hashes_and_tags(values: dict[str, str]) -> None:
    secrets = {
        "hash": "SECRET-HASH",
        "tag": "SECRET-TAG",
        "previous_hash": "SECRET-HASH-2",
        "previous_tag": "SECRET-TAG-2",
    }
    record = from_fields("4xT9mQ2LrB7c", values | secrets)
    told = asdict(view(record, NOW))
    assert not set(secrets) & set(told)
    assert not any(secret in repr(told) for secret in secrets.values())
    assert "SECRET" not in repr(record)


@pytest.mark.parametrize("name", field_names())
def test_a_key_that_was_pasted_into_a_record_is_told_without_its_secret(name: str) -> None:
    key = "agk_live_4xT9mQ2LrB7c_" + "s3cr3t" * 5 + "xy" + "AbCdEf"
    told = repr(view(replace(LIVE, **{name: f"{key} {key}"}), NOW))
    assert "s3cr3t" not in told
