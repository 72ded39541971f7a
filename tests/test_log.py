"""What happens again and again is not logged each time."""

from gateway.log import Seldom


def test_what_was_not_said_is_counted_with_what_is_said_next() -> None:
    now = 0.0
    seldom = Seldom(lambda: now, 10.0)
    assert [seldom.due(2), seldom.due(), seldom.due(3)] == [2, 0, 0]
    now = 9.9
    assert seldom.due() == 0
    now = 10.0
    assert [seldom.due(), seldom.due()] == [6, 0]
