"""What an operator may write on a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import UsageError
from gateway.domain.keys import key as keys
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.record import field_names

WHOLE_KEY = keys.compose("live", "4xT9mQ2LrB7c", "0123456789ABCDEFGHIJabcdefghijKL").text
SECRET = WHOLE_KEY[22:54]


def test_only_what_is_given_is_written() -> None:
    assert KeyFields().values() == {}
    assert KeyFields(label="").values() == {"label": ""}
    assert KeyFields(expires_at=0).values() == {"expires_at": ""}


def test_every_field_is_spelled_as_the_record_holds_it() -> None:
    values = KeyFields(
        consumer="sales",
        scopes=("agents/support:chat", "models/gpt-4", "models/gpt-4"),
        plan="standard",
        limits=" rate=5/s   burst=10 ",
        users=("u1", "*"),
        label="für Süd",
        expires_at=1_893_456_000,
    ).values()
    assert values == {
        "consumer": "sales",
        "scopes": "agents/support:chat models/gpt-4",
        "plan": "standard",
        "limits": "rate=5/s burst=10",
        "users": "u1 *",
        "label": "für Süd",
        "expires_at": "1893456000",
    }
    assert set(values) <= set(field_names())


def test_a_department_is_called_as_it_is_called() -> None:
    assert KeyFields(consumer="销售 Süd").values() == {"consumer": "销售 Süd"}


@pytest.mark.parametrize(
    "fields",
    [
        KeyFields(consumer=""),
        KeyFields(consumer=" sales"),
        KeyFields(consumer="sales\r\nX-Gateway-Scopes: *"),
        KeyFields(consumer="a\u202eb"),
        KeyFields(consumer="\ud800"),
        KeyFields(consumer="s" * 129),
        KeyFields(scopes=()),
        KeyFields(scopes=("agents/support", "agnts/x")),
        KeyFields(scopes=("agents/a agents/b",)),
        KeyFields(scopes=("gateway/*",)),
        KeyFields(scopes=("gateway/adm",)),
        KeyFields(scopes=("gateway/credential:crm",)),
        KeyFields(plan="a b"),
        KeyFields(limits="rate=fast"),
        KeyFields(users=("u 1",)),
        KeyFields(users=("u1\n",)),
        KeyFields(label="two\nlines"),
        KeyFields(label="\x1b[2J"),
        KeyFields(label="l" * 257),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(fields: KeyFields) -> None:
    with pytest.raises(UsageError) as refused:
        fields.values()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        KeyFields(consumer=WHOLE_KEY),
        KeyFields(label=f"the key is {WHOLE_KEY}"),
        KeyFields(scopes=(WHOLE_KEY,)),
        KeyFields(scopes=(f"agents/{WHOLE_KEY}",)),
        KeyFields(plan=WHOLE_KEY),
        KeyFields(limits=WHOLE_KEY),
        KeyFields(users=(WHOLE_KEY,)),
    ],
)
def test_a_whole_key_is_kept_in_no_field_and_not_repeated(fields: KeyFields) -> None:
    with pytest.raises(UsageError) as refused:
        fields.values()
    assert SECRET not in str(refused.value)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_makes_it_fail_otherwise(a: str, b: str, c: str, d: str) -> None:
    try:
        values = KeyFields(a, (b,), c, d, (a,), b).values()
    except UsageError:
        return
    assert all("\n" not in value for value in values.values())
