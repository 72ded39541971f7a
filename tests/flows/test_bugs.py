"""An error that nobody foresaw tells nobody anything."""

import pytest

from gateway.domain.errors import Code
from gateway.domain.keys import compose
from tests.flows.test_denials import check
from tests.flows.world import World


@pytest.mark.denial("internal")
async def test_a_bug_tells_nothing_but_the_request_id(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.policies = "canary"  # type: ignore[assignment]
    key = compose("live", "abcdefghijkl", "x" * 32)
    answer = await world.call(key, "/agents/echo/canary?q=canary", headers={"X-C": "canary"})
    check(answer, Code.INTERNAL)
    logged = "".join(capsys.readouterr())
    assert answer.headers["X-Request-Id"] in logged
    assert "canary" not in logged + answer.body.decode()
