"""When a key ends: every way to say it, and none that ends it by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import expiry

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("30d", NOW + 30 * 86400),
        ("90s", NOW + 90),
        ("1.5h", NOW + 5400),
        ("1893456000", 1_893_456_000),
        ("2030-01-01", 1_893_456_000),
        ("2030-01-01T00:00:00", 1_893_456_000),
        ("2030-01-01T00:00:00Z", 1_893_456_000),
        ("2030-01-01T02:00:00+02:00", 1_893_456_000),
        ("999999999999", 999_999_999_999),
        ("9999-12-31", 253_402_214_400),
        ("never", None),
    ],
)
def test_what_can_be_said(text: str, second: int | None) -> None:
    assert expiry.parse(text, NOW) == second


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "500ms",
        "0",
        "1800000000",
        "30",
        "2020-01-01",
        "-5d",
        "soon",
        "2030-13-01",
        "9999999999999",
        "999999999w",
        "30 d",
        "30d\n",
        "1e12",
        "\N{ARABIC-INDIC DIGIT FIVE}d",
    ],
)
def test_what_is_past_unreadable_or_beyond_a_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (in the past|too far|neither)") as refused:
        expiry.parse(text, NOW)
    # Credentials end as keys do.
    assert "key" not in str(refused.value)


LIKELY = st.from_regex(r"[0-9]{1,13}[smhdw]?", fullmatch=True) | st.datetimes().map(str)


@given(st.text() | LIKELY)
def test_any_text_is_a_later_second_or_a_value_error(text: str) -> None:
    try:
        second = expiry.parse(text, NOW)
    except ValueError:
        return
    assert second is None or NOW < second <= expiry.LATEST_EXPIRY
