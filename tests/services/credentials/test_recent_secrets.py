"""What was put in lately is looked for a while longer, and then not kept."""

import asyncio

from gateway.services.credentials.recent_secrets import MOST_BEFORE, RecentSecrets

A, B, C = [((name, b"a secret " + name),) for name in (b"a", b"b", b"c")]


async def gone(recent: RecentSecrets, secret: tuple[bytes, bytes]) -> None:
    async with asyncio.timeout(10):
        while secret in recent.secrets.pairs:
            await asyncio.sleep(0.005)


async def test_each_that_was_put_in_is_forgotten_in_its_turn() -> None:
    recent = RecentSecrets(0.02)
    for one, after in ((A, B), (B, C), (C, A)):
        recent.set_current(one)
        recent.set_current(after)
        assert set(recent.secrets.pairs) >= {*one, *after}
        await gone(recent, one[0])
        assert recent.secrets.pairs == after


async def test_of_many_those_that_were_put_in_last_are_looked_for() -> None:
    recent = RecentSecrets(60.0)
    for again in range(2):
        recent.set_current(A)
        for number in range(MOST_BEFORE):
            recent.set_current(((b"n", b"a secret %d %d" % (again, number)),))
        assert A[0] in recent.secrets.pairs
    for number in range(2):
        recent.set_current(((b"n", b"a secret and %d" % number),))
    assert A[0] not in recent.secrets.pairs


async def test_a_part_of_a_set_that_a_stream_saw_first_takes_the_place_of_none_before() -> None:
    recent = RecentSecrets(60.0)
    recent.set_current(A)
    for number in range(MOST_BEFORE):
        seen = (b"n", b"a secret %d" % number)
        recent.set_current((seen,))
        recent.set_current((seen, (b"t", b"fetched with it %d" % number)))
    assert A[0] in recent.secrets.pairs
