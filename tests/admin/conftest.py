"""The admin API of one gateway, and keys with powers over it."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.keys.key import Key
from gateway.services.policies.directory import list_directory, read_directory
from gateway.services.policies.reload import LivePolicies
from tests.flows.conftest import world
from tests.flows.world import Answer, World

__all__ = ["world"]

Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
def ask(world: World) -> Ask:
    """`await ask(key, "GET", "/keys", json=…, headers=…)`; bytes are sent as they are."""

    async def asked(
        key: Key | None,
        method: str,
        path: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key.text}"
        url = f"http://{world.gateways[0].admin.address}/admin/v1{path}"
        body = {"data" if isinstance(json, bytes) else "json": json}
        async with world.session.request(method, url, headers=sent, **body) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    return asked


@pytest.fixture
async def admin(world: World) -> Key:
    world.serve(world.agent())
    return await world.issue("gateway/admin", consumer="ops")


def live_files(folder: Path, text: str) -> LivePolicies:
    (folder / "a.yaml").write_text(text)
    loaded = read_directory(folder).policies
    assert loaded is not None
    return LivePolicies(folder, list_directory(folder), loaded, lambda policies: policies)
