"""`keys list` and `show`, and what no command ever tells."""

import shlex
import subprocess

import pytest
from redis.asyncio import Redis

from tests.cli.commands import COMMAND, Commands

LISTED = {
    *("id", "consumer", "label", "scopes", "plan", "limits", "users", "env", "last4", "status"),
    *("state", "problem", "expires_at", "grace_until", "created_at", "created_by", "rotated_at"),
    *("revoked_at", "removed_at"),
}
SHOWN = LISTED | {"effective_limits", "last_used_at", "previous_last_used_at"}


async def test_list_goes_page_by_page_and_filters(keys: Commands, client: Redis) -> None:
    for number in range(5):
        consumer = "hr" if number == 3 else "sales"
        fields = {"hash": "h", "status": "active", "consumer": consumer, "scopes": "agents/*"}
        await client.hset(f"gw:key:{{{number:012d}}}", mapping=fields)
    first = keys("list", "--limit", "2", "--json").json
    assert [key["id"] for key in first["keys"]] == ["000000000000", "000000000001"]
    assert set(first["keys"][0]) == LISTED
    second = keys("list", "--limit", "3", "--after", first["next"], "--json").json
    assert [key["id"][-1] for key in second["keys"]] == ["2", "3", "4"]
    assert second["next"] is None
    wanted = ("--consumer", "hr", "--status", "active", "--scope", "agents/faq:chat")
    assert [key["id"] for key in keys("list", *wanted, "--json").json["keys"]] == ["000000000003"]
    assert keys("list", "--expiring-within", "7d", "--json").json == {"keys": [], "next": None}
    assert len(keys("list", "--unused-for", "400d", "--json").json["keys"]) == 5
    table = keys("list", "--limit", "2")
    assert [line.split()[0] for line in table.out.splitlines()] == [
        "ID",
        "000000000000",
        "000000000001",
    ]
    assert "--after 000000000001" in table.said


async def test_show_tells_when_redis_removes_the_record(keys: Commands, client: Redis) -> None:
    key = keys.create()
    for quiet in (("show", key.id), ("list",), ("update", key.id, "--expires", "never")):
        assert "Redis will remove" not in keys(*quiet).said
    assert keys("show", key.id, "--json").json["removed_at"] is None
    await client.expireat(f"gw:key:{{{key.id}}}", 4_000_000_000)
    shown = keys("show", key.id)
    assert "Redis will remove this record at 2096-10-02 07:06:40 UTC" in shown.said
    told = keys("show", key.id, "--json")
    assert set(told.json) == SHOWN and told.json["removed_at"] == 4_000_000_000
    assert f"Redis will remove, by an EXPIRE on the record: {key.id}." in keys("list").said
    assert keys("list", "--json").json["keys"][0]["removed_at"] == 4_000_000_000
    assert "Redis will remove" in keys("update", key.id, "--expires", "never").said
    _, _, step = shown.said.partition("to keep it: gateway ")
    assert keys.gateway(*shlex.split(step)).code == 0
    assert await client.ttl(f"gw:key:{{{key.id}}}") == -1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", "0"),
        ("--after", "nonsense"),
        ("--scope", "nonsense"),
        ("--expiring-within", "soon"),
        ("--unused-for", "401d"),
        ("--status", "alive"),
    ],
)
def test_a_filter_that_means_nothing_is_exit_2(keys: Commands, arguments: tuple[str, ...]) -> None:
    assert keys("list", *arguments).code == 2


async def test_a_login_that_may_not_ask_when_records_end_is_told_all_else(
    keys: Commands, client: Redis
) -> None:
    """The login of `gateway serve` may not, and its URL is the one that is at hand."""
    key = keys.create()
    await client.execute_command("ACL", "SETUSER", "default", "-expiretime")
    try:
        for command in (("list",), ("show", key.id), ("update", key.id, "--expires", "30d")):
            told = keys(*command, "--json")
            assert told.code == 0 and key.id in told.out
            assert "Redis will remove by itself is not known: Redis refused" in told.said
    finally:
        await client.execute_command("ACL", "SETUSER", "default", "+expiretime")


@pytest.mark.parametrize("limit", ["0", "10001", "many", "1.5"])
def test_a_number_that_is_not_taken_is_answered_with_its_bounds(keys: Commands, limit: str) -> None:
    assert f"'{limit}' is not a whole number from 1 to 10000" in keys("list", "--limit", limit).said
    said = keys.gateway("audit", "tail", "-n", "-1").said
    assert "'-1' is not a whole number of at least 0" in said


def test_a_label_that_the_terminal_cannot_spell_is_listed_escaped(keys: Commands) -> None:
    keys.create("--label", "caf\u00e9 \u6f22")
    listed = subprocess.run(
        [*COMMAND, "keys", "list"],
        cwd=keys.folder,
        env={**keys.environment(), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
    )
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert b"caf\xe9 \\u6f22" in listed.stdout


def test_an_end_beyond_all_calendars_is_listed_as_the_second_that_it_is(keys: Commands) -> None:
    keys.create("--expires", "999999999999")
    assert "999999999999" in keys("list").out.split()


async def test_show_tells_state_grace_limits_and_last_use(keys: Commands, client: Redis) -> None:
    keys.write_plans("  standard: {rate: 10/s, quota: 100/d, agents: {faq: {rate: 2/s}}}\n")
    key = keys.create("--plan", "standard", "--limits", "burst=30")
    keys("rotate", key.id, "--grace", "1h", "--quiet")
    used = {"current": "1800000000", "previous": "1700000000"}
    await client.hset(f"gw:used:{{{key.id}}}", mapping=used)
    shown = keys("show", key.id, "--json").json
    assert set(shown) == SHOWN
    assert shown["state"] == "active"
    assert shown["grace_until"] > shown["rotated_at"]
    limits = shown["effective_limits"]
    assert (limits["rate"], limits["burst"], limits["quota"]) == ("10/s", 30, ["100/d"])
    assert limits["agents"]["faq"]["rate"] == "2/s"
    assert (shown["last_used_at"], shown["previous_last_used_at"]) == (1800000000, 1700000000)
    text = keys("show", key.id).out
    assert "2027-01-15 08:00:00 UTC" in text
    assert "rate 10/s" in text


def test_show_has_no_limit_that_is_only_tried_out(keys: Commands) -> None:
    keys.write_plans("  tried: {rate: 10/s, enforce: false, agents: {faq: {rate: 2/s}}}\n")
    key = keys.create("--plan", "tried", "--limits", "quota=5/d")
    limits = keys("show", key.id, "--json").json["effective_limits"]
    assert (limits["rate"], limits["quota"], limits["agents"]) == (None, ["5/d"], {})


async def test_show_says_why_a_record_makes_no_sense(keys: Commands, client: Redis) -> None:
    keys.write_plans("  standard: {rate: 10/s}\n")
    key = keys.create()
    await client.hset(f"gw:key:{{{key.id}}}", "plan", "gone")
    assert "no policy has the plan 'gone'" in keys("show", key.id, "--json").json["problem"]
    await client.hset(f"gw:key:{{{key.id}}}", "expires_at", "soon")
    shown = keys("show", key.id, "--json").json
    assert shown["state"] == "misconfigured"
    assert "expires_at" in shown["problem"]


async def test_a_record_written_by_hand_cannot_steer_the_terminal(
    keys: Commands, client: Redis
) -> None:
    key = keys.create()
    hostile = {"label": "\x1b[2J\x1b]0;owned\x07[red]", "consumer": "a\rb\u202e"}
    await client.hset(f"gw:key:{{{key.id}}}", mapping=hostile)
    await client.execute_command("HSET", f"gw:key:{{{key.id}}}", "users", b"\xff\xfe")
    for arguments in (("list",), ("show", key.id), ("list", "--json"), ("show", key.id, "--json")):
        ended = keys(*arguments)
        assert ended.code == 0
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(ended.out)
    assert "[red]" in keys("list").out


async def test_no_output_but_the_first_holds_a_key_and_none_a_hash_or_a_tag(
    keys: Commands, client: Redis
) -> None:
    first = keys.create("--label", "x")
    turned = keys("rotate", first.id, "--grace", "1h", "--quiet", "--idempotency-key", "K")
    second = turned.out.strip()
    held = await client.hgetall(f"gw:key:{{{first.id}}}")
    secrets = {held[name] for name in ("hash", "tag", "previous_hash", "previous_tag")}
    secrets |= {held["hash"].split("$")[-1], held["tag"].split(":")[-1]}
    assert len(secrets) == 6
    secrets |= {first.text[22:], second[22:]}
    told = turned.said
    for arguments in (
        ("list",),
        ("list", "--json"),
        ("show", first.id),
        ("show", first.id, "--json"),
        ("update", first.id, "--label", "y"),
        ("update", first.id, "--label", "z", "--json"),
        ("disable", first.id, "--json"),
        ("enable", first.id),
        ("revoke", first.id),
        ("delete", first.id, "--yes"),
    ):
        ended = keys(*arguments)
        assert ended.code == 0
        told += ended.out + ended.said
    assert not [secret for secret in secrets if secret in told]


async def test_a_printed_key_is_nowhere_in_redis(keys: Commands, client: Redis) -> None:
    made = [keys.create("--idempotency-key", "K"), keys.create("--idempotency-key", "K")]
    secrets = [key.text[22:54].encode() for key in made]
    held = b""
    for name in await client.keys("gw:key:*"):
        dumped = await client.execute_command("DUMP", name, NEVER_DECODE=True)
        held += name.encode() + dumped
        if await client.type(name) == "hash":
            held += str(await client.hgetall(name)).encode()
    assert held
    assert not [secret for secret in secrets if secret in held]


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("revoke",),
        ("rotate", "--grace"),
        ("update",),
        ("create",),
        ("create", "--consumer", "sales", "--scope", "*", "--env"),
        ("create", "--scope", "*", "--consumer"),
        ("create", "--consumer", "sales", "--scope"),
        ("create", "--consumer", "sales", "--scope", "*", "--label"),
        ("create", "--consumer", "sales", "--scope", "*", "--plan"),
        ("list", "--after"),
        ("list", "--limit"),
        ("list", "--scope"),
        ("list", "--expiring-within"),
    ],
)
async def test_a_whole_key_as_an_argument_is_refused_and_not_repeated(
    keys: Commands, client: Redis, arguments: tuple[str, ...]
) -> None:
    key = keys.create()
    ended = keys(*arguments, key.text)
    assert ended.code == 2
    assert key.text[22:] not in ended.out + ended.said
    assert len(await client.keys("gw:key:*")) == 1


def test_a_refused_key_names_its_id_so_that_one_can_go_on(keys: Commands) -> None:
    key = keys.create()
    assert f"{key.id}." in keys("show", key.text).said
