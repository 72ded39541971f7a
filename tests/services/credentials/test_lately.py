"""What was put in lately is looked for a while longer, and then not kept."""

import asyncio

from gateway.services.credentials.lately import MOST_BEFORE, Lately

A, B, C = [((name, b"a secret " + name),) for name in (b"a", b"b", b"c")]


async def gone(lately: Lately, secret: tuple[bytes, bytes]) -> None:
    async with asyncio.timeout(10):
        while secret in lately.secrets.pairs:
            await asyncio.sleep(0.005)


async def test_each_that_was_put_in_is_forgotten_in_its_turn() -> None:
    lately = Lately(0.02)
    for one, after in ((A, B), (B, C), (C, A)):
        lately.put_in(one)
        lately.put_in(after)
        assert set(lately.secrets.pairs) >= {*one, *after}
        await gone(lately, one[0])
        assert lately.secrets.pairs == after


async def test_of_many_those_that_were_put_in_last_are_looked_for() -> None:
    lately = Lately(60.0)
    for again in range(2):
        lately.put_in(A)
        for number in range(MOST_BEFORE):
            lately.put_in(((b"n", b"a secret %d %d" % (again, number)),))
        assert A[0] in lately.secrets.pairs
    for number in range(2):
        lately.put_in(((b"n", b"a secret and %d" % number),))
    assert A[0] not in lately.secrets.pairs


async def test_a_part_of_a_set_that_a_stream_saw_first_takes_the_place_of_none_before() -> None:
    lately = Lately(60.0)
    lately.put_in(A)
    for number in range(MOST_BEFORE):
        seen = (b"n", b"a secret %d" % number)
        lately.put_in((seen,))
        lately.put_in((seen, (b"t", b"fetched with it %d" % number)))
    assert A[0] in lately.secrets.pairs
