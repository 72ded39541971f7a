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
