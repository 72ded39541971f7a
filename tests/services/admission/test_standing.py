"""What an open answer stands on, asked again; no hash shows in a repr."""

import pytest

from gateway.crypto.argon2 import hash_key
from gateway.domain.errors import Code
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Scope
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.standing import Standing

NOW = 1000
PHC = hash_key("one")
NEW = hash_key("two")
STANDING = Standing("abcdefghijkl", PHC, Scope("agents", "echo", "chat"), "u1")


def record(**fields: str) -> KeyRecord:
    whole = {"hash": PHC, "status": "active", "scopes": "agents/echo", "users": "u1 u2"}
    return KeyRecord("abcdefghijkl", **(whole | fields))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, None),
        ({"label": "renamed", "limits": "rate=1/d"}, None),
        ({"status": "revoked"}, Code.KEY_REVOKED),
        ({"status": ""}, Code.KEY_DISABLED),
        ({"expires_at": "1000"}, Code.KEY_EXPIRED),
        ({"hash": ""}, Code.KEY_INVALID),
        ({"expires_at": "soon"}, Code.KEY_MISCONFIGURED),
        ({"limits": "rate=fast"}, Code.KEY_MISCONFIGURED),
        ({"limits": "burst=3"}, Code.KEY_MISCONFIGURED),
        ({"limits": "burst=3", "plan": "of a rate, it may be"}, None),
        ({"scopes": "agents/echo:other"}, Code.SCOPE_DENIED),
        ({"users": "u2"}, Code.USER_DENIED),
        ({"hash": NEW, "previous_hash": PHC, "previous_expires_at": "1001"}, None),
        ({"hash": NEW, "previous_hash": PHC, "previous_expires_at": "1000"}, Code.KEY_INVALID),
        ({"hash": "", "previous_hash": PHC, "previous_expires_at": "1001"}, Code.KEY_INVALID),
    ],
)
def test_it_is_lost_with_what_it_stands_on(fields: dict[str, str], code: Code | None) -> None:
    denied = STANDING.lost(record(**fields), NOW)
    assert (denied and denied.code) == code
    if code is Code.SCOPE_DENIED:
        assert denied is not None
        assert denied.fields == {"required_scope": "agents/echo:chat"}


def test_it_is_lost_with_the_record() -> None:
    denied = STANDING.lost(None, NOW)
    assert denied is not None
    assert denied.code is Code.KEY_INVALID


def test_no_hash_and_no_tag_shows_in_a_repr() -> None:
    shown = repr(STANDING) + repr(Candidate(Slot.CURRENT, PHC, "the-tag"))
    assert PHC not in shown
    assert "the-tag" not in shown
