"""What a stream may have dropped: nothing that it was told to keep."""

import math

import pytest

from gateway.domain.audit.settings import Retention


@pytest.mark.parametrize(
    ("seconds", "length", "before"),
    [
        (0.0, 9, -math.inf),
        (0.0, 10, math.inf),
        (60.0, 9, 940.0),
        (60.0, 10, math.inf),
    ],
)
def test_records_are_gone_by_age_or_where_the_stream_is_full(
    seconds: float, length: int, before: float
) -> None:
    assert Retention(10, seconds).gone_before(length, 1000.0) == before
