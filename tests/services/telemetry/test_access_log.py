"""Lines that several processes write into one pipe stay whole."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.services.telemetry.access_log import pieces

LINES = st.lists(st.binary(min_size=1, max_size=60).map(lambda text: text + b"\n"), max_size=40)


@given(LINES, st.integers(1, 100))
def test_pieces_are_whole_lines_in_order_and_small_enough_to_be_written_at_once(
    lines: list[bytes], most: int
) -> None:
    made = list(pieces(lines, most))
    assert b"".join(made) == b"".join(lines)
    left = list(lines)
    for piece in made:
        taken = [left.pop(0)]
        while b"".join(taken) != piece:
            taken.append(left.pop(0))
        assert len(piece) <= most or len(taken) == 1
