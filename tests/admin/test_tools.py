"""What the admin API tells of tools: how they run, how they are used, whom they can serve."""

import asyncio

from gateway.domain.keys.key import Key
from tests.admin.conftest import Ask
from tests.flows.mcp_spellings import SPELLINGS
from tests.flows.services import keep, put
from tests.flows.tools import (
    TOKEN,
    Servers,
    client,
    serve_stdio,
    servers,
    tools,
    vault,
)
from tests.flows.world import World
from tests.services.vaults import Vault

__all__ = ["servers", "vault"]


async def told_of(ask: Ask, admin: Key, name: str = "fc") -> dict[str, object]:
    found = (await ask(admin, "GET", "/tools")).json
    assert (found["whole"], found["problem"]) == (True, "")
    return next(tool for tool in found["tools"] if tool["name"] == name)


async def test_calls_and_what_came_back_are_counted(
    world: World, ask: Ask, vault: Vault, servers: Servers
) -> None:
    admin = await world.issue("gateway/admin")
    key = await world.issue("tools/fc", users=("u1",))
    async with client(world, key) as mcp:
        echoed = await mcp.call_tool("spill", {"how": next(iter(SPELLINGS))})
    assert TOKEN not in str(echoed)
    async with asyncio.timeout(15):
        while (told := await told_of(ask, admin))["reflected"] != 1:
            await asyncio.sleep(0.1)
        while (told := await told_of(ask, admin))["counts"]["requests"] < 2:  # type: ignore[index]
            await asyncio.sleep(0.1)
    assert (told["transport"], told["upstream"]) == ("http", servers.url("json"))
    assert (told["isolation"], told["running"], told["credentials"]) == ("", 0, [])
    assert (told["scopes"], told["of_users"]) == (["tools/fc:*"], ["github"])


async def test_each_user_has_or_lacks_what_the_tool_needs_page_by_page(
    world: World, ask: Ask, admin: Key
) -> None:
    made = Vault(world.client)
    inject = {"headers": {"A": "${user.github.value}", "B": "${user.crm.value}"}}
    put(world, tools("http://127.0.0.1:9/mcp", inject=inject))
    for name in ("user/ann/github", "user/ann/crm", "user/bob/github", "user/cid/other", "github"):
        await keep(world, made, name, "api_key", value=TOKEN)
    await keep(world, made, "user/bob/crm", "api_key", value=TOKEN)
    await made.write("user/bob/crm", 2, expires_at=1)
    await ask(admin, "POST", "/users/dan/links", {"credentials": "github"})
    rows, after = [], ""
    while after is not None:
        page = await ask(admin, "GET", f"/tools/fc/users?limit=3&after={after}")
        assert TOKEN not in page.body.decode()
        rows += page.json["users"]
        after = page.json["next"]
    assert [(one["user"], one["has"], one["broken"], one["lacks"]) for one in rows] == [
        ("ann", ["github", "crm"], {}, []),
        ("bob", ["github"], {"crm": "expired"}, []),
        ("cid", [], {}, ["github", "crm"]),
        ("dan", [], {}, ["github", "crm"]),
    ]
    assert [one["link_seconds"] is not None for one in rows] == [False, False, False, True]
    assert (await ask(admin, "GET", "/tools/none-such/users")).status == 404


async def test_programs_that_run_are_told_with_how_they_are_kept_apart(
    world: World, ask: Ask, admin: Key
) -> None:
    await keep(world, Vault(world.client), "user/u1/github", "api_key", value=TOKEN)
    await serve_stdio(world)
    assert (await told_of(ask, admin))["running"] == 0
    key = await world.issue("tools/fc", users=("u1",))
    async with client(world, key, mode="legacy") as mcp:
        await mcp.list_tools()
        told = await told_of(ask, admin)
    assert (told["transport"], told["running"], told["isolation"]) == ("stdio", 1, "none")
