"""What is added to counts is added to each of them."""

from gateway.domain.usage import COUNTED, Counts


def test_every_count_is_added() -> None:
    first = Counts(*range(1, len(COUNTED) + 1))
    first.add(Counts(*(10 * number for number in range(1, len(COUNTED) + 1))))
    assert first == Counts(*(11 * number for number in range(1, len(COUNTED) + 1)))
