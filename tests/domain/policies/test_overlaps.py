"""Where two patterns meet is found whole, and nothing else, however many `**` they hold."""

from itertools import islice, product

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.policies.overlaps import overlaps
from gateway.domain.policies.routes import matches

PATTERNS = st.lists(st.sampled_from([b"a", b"b", b"*", b"**"]), max_size=4)
PATHS = [path for n in range(6) for path in product((b"a", b"b", b"c"), repeat=n)]


@settings(max_examples=200)
@given(PATTERNS, PATTERNS)
def test_a_path_is_both_patterns_where_it_is_a_meeting(
    one: list[bytes], other: list[bytes]
) -> None:
    found = list(overlaps(one, other, 5))
    assert len(set(found)) == len(found)
    assert [len(path) for path in found] == sorted(len(path) for path in found)
    for path in found:
        assert matches(one, path) and matches(other, path)
    for path in PATHS:
        both = matches(one, path) and matches(other, path)
        assert both == any(matches(meeting, path) for meeting in found)


def test_literals_are_spelled_as_the_first_has_them() -> None:
    assert list(overlaps((b"A", b"*"), (b"a", b"B"), 5)) == [(b"A", b"B")]
    assert list(overlaps((b"a",), (b"b",), 5)) == []


def test_many_wildcards_cost_no_more_than_what_is_asked_for() -> None:
    one, other = (
        tuple(part for i in range(40) for part in (b"**", b"%b%d" % (letter, i)))
        for letter in (b"a", b"b")
    )
    # Their last segments differ, which no beginning shows.
    assert not list(overlaps(one, other, 200))
    assert len(list(islice(overlaps((*one, b"**"), (*other, b"**"), 200), 50))) == 50
    stars = (b"**",) * 500
    assert list(overlaps(stars, stars, 501)) == [(b"*",) * 500, (b"*",) * 501]
