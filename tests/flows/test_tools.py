"""`/tools/<name>/mcp`: the official client with a key of the gateway, and a user who is named."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mcp_types import CallToolResult, TextContent

from gateway.domain.keys import Key
from tests.flows.services import keep
from tests.flows.tools import (
    TOKEN,
    Servers,
    client,
    mcp_servers,
    put_tools,
)
from tests.flows.world import World
from tests.services.vaults import Vault

MODES = ("auto", "legacy")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with mcp_servers() as found:
        yield found


@pytest.fixture
async def key(world: World, servers: Servers) -> AsyncIterator[Key]:
    vault = Vault(world.client)
    await keep(world, vault, "user/u1/github", "api_key", value=TOKEN)
    put_tools(world, servers.url())
    yield await world.issue("tools/fc", users=("u1",))


def text(result: Any) -> str:
    assert isinstance(result, CallToolResult)
    return "".join(one.text for one in result.content if isinstance(one, TextContent))


@pytest.mark.parametrize("kind", ["events", "json"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_calls_tools_unchanged(
    world: World, servers: Servers, key: Key, mode: str, kind: str
) -> None:
    put_tools(world, servers.url(kind))
    async with client(world, key, mode=mode) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert {"whoami", "spill", "fail"} <= names
        result = await mcp.call_tool("whoami", {"region": "eu"})
        assert result.structured_content["region"] == "eu"
        assert "authorization" in result.structured_content["headers"]
        assert not {"x-user-id", "x-gateway-user", "cookie"} & set(
            result.structured_content["headers"]
        )
        assert text(await mcp.call_tool("spill", {"how": "plain"})) == (
            "before [redacted:github] after"
        )
        assert (await mcp.list_prompts()).prompts[0].name == "greet"
        read = await mcp.read_resource("notes://today")
        assert "a note" in str(read)
