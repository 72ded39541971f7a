"""Without master keys and peppers sessions are sealed with what is in Redis, or not at all."""

import pytest
from redis.asyncio import Redis

from gateway.crypto.sessions import Owner
from gateway.domain.errors import Code, Denied
from gateway.services.tools.sessions import ToolSessions
from gateway.store.shared_secret import shared_secret


async def test_a_seal_that_cannot_be_had_is_a_refusal_and_its_reason_is_logged(
    client: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = ToolSessions((), lambda: shared_secret(client, "gw:tools:seal"))
    owner = Owner("files", "k1", "u1")
    await client.set("gw:tools:seal", "by hand")
    for use in (sessions.seal("s", owner), sessions.open("s", owner)):
        with pytest.raises(Denied) as denied:
            await use
        assert denied.value.code is Code.STORE_UNAVAILABLE
    assert "gw:tools:seal was not made by a gateway" in "".join(capsys.readouterr())
    await client.delete("gw:tools:seal")
    assert await sessions.open(await sessions.seal("s", owner), owner) == "s"


async def test_an_id_is_the_same_each_time_and_good_for_one_owner_and_one_kind() -> None:
    """Servers may repeat it with every answer, and callers compare."""
    sessions = ToolSessions((b"s" * 32,), _nothing_shared)
    owner = Owner("files", "k1", "u1")
    others = (
        owner.events,
        owner.tasks,
        Owner("files", "k1", "u2"),
        Owner("files", "k2", "u1"),
        Owner("crm", "k1", "u1"),
    )
    for own in ("s", "é", "x" * 3000, "\ud800", *("y" * length for length in range(12))):
        sealed = await sessions.seal(own, owner)
        assert sealed == await sessions.seal(own, owner)
        assert await sessions.open(sealed, owner) == own
        assert [await sessions.open(sealed, other) for other in others] == [None] * len(others)


@pytest.mark.parametrize("sealed", ["", "a", "abcde", "é", "=", "a b", "A" * 22, "A" * 5000])
async def test_what_nobody_sealed_is_the_id_of_nothing(sealed: str) -> None:
    sessions = ToolSessions((b"s" * 32,), _nothing_shared)
    assert await sessions.open(sealed, Owner("files", "k1", "")) is None


async def test_an_id_opens_after_a_change_of_the_secret_while_the_old_one_is_given() -> None:
    old, new = ToolSessions((b"o" * 32,), _nothing_shared), b"n" * 32
    owner = Owner("files", "k1", "u1")
    sealed = await old.seal("s", owner)
    assert await ToolSessions((new, b"o" * 32), _nothing_shared).open(sealed, owner) == "s"
    assert await ToolSessions((new,), _nothing_shared).open(sealed, owner) is None


async def _nothing_shared() -> bytes:
    raise AssertionError("a secret is there")
