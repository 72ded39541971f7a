"""An MCP server as a child: shared by calls of one user, replaced when it has to be, never left."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.children.process import Child
from gateway.domain.children import Isolation, Program
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import Timeouts
from gateway.domain.policies.tools import ProgramTerms, Toolset, Transport
from gateway.protocol.secrets import Secrets
from gateway.protocol.strict_json import LEVELS
from gateway.services.tools import stdio_server
from gateway.services.tools.program_slots import ProgramSlots
from gateway.services.tools.stderr import ToolStderr
from gateway.services.tools.stdio_pool import LOOK_SECONDS, PoolKey, ServerSpec, StdioPool
from gateway.services.tools.stdio_server import MOST_UNDER_WAY, MOST_WAITING, StdioServer
from tests.children.programs import launcher_of, processes, python
from tests.stalling import stall
from tests.until import until

PROGRAM = Path(__file__).parent / "mcp_program.py"
PATIENT = Timeouts(first_byte=30.0, idle=30.0)
SEAT = PoolKey("fc", "key1", "u1", stateless=False)
SECRET = "s3cret-value-of-u1"


class Site:
    """A pool, and how tests ask it."""

    def __init__(self, pool: StdioPool, mark: str) -> None:
        self.pool = pool
        self.mark = mark
        terms = ProgramTerms(idle=600.0)
        command = (python(), str(PROGRAM), mark)
        self.tools = Toolset(Transport.STDIO, command, program=terms)
        self.env = {"TOKEN": SECRET}

    async def server(self, seat: PoolKey = SEAT, **changes: Any) -> StdioServer:
        wanted = ServerSpec(replace(self.tools, **changes), self.env)
        return await self.pool.server(seat, wanted, Secrets((("token", SECRET),)))

    async def said(self, name: str, seat: PoolKey = SEAT, **arguments: Any) -> list[dict[str, Any]]:
        """All messages of one call."""
        return await ask(await self.server(seat), name, **arguments)

    async def text(self, name: str, seat: PoolKey = SEAT, **arguments: Any) -> str:
        return text((await self.said(name, seat, **arguments))[-1])

    @property
    def running(self) -> int:
        lines = processes(self.mark).values()
        return len([line for line in lines if b"bwrap" not in line.split(b"\0")[0]])


def text(message: dict[str, Any]) -> str:
    found: str = message["result"]["content"][0]["text"]
    return found


def request(name: str, request_id: object = 1, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": "mine"}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def ask(
    server: StdioServer, name: str, timeouts: Timeouts = PATIENT, **arguments: Any
) -> list[dict[str, Any]]:
    async with aclosing(server.ask(request(name, **arguments), Secrets(), timeouts)) as said:
        return [dict(message) async for message in said]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async for one in sites(tmp_path, 8):
        yield one


async def sites(folder: Path, most: int) -> AsyncIterator[Site]:
    launcher = launcher_of(Isolation.NONE, folder)
    pool = StdioPool(launcher, ProgramSlots(most), time.monotonic, lambda _: True)
    watch = asyncio.create_task(pool.watch())
    one = Site(pool, folder.name + os.urandom(4).hex())
    try:
        yield one
    finally:
        watch.cancel()
        await pool.close()
        assert one.running == 0


@pytest.fixture
def logged() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def keep(_: object, name: str, event: dict[str, Any]) -> dict[str, Any]:
        events.append({"level": name, **event})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return events


@pytest.fixture(autouse=True)
def as_it_was() -> Any:
    yield
    structlog.reset_defaults()


async def test_a_server_is_greeted_once_and_shared_by_calls(site: Site) -> None:
    server = await site.server()
    assert server.greeting["serverInfo"] == {"name": "p", "version": "1"}
    assert await site.server() is server
    listing = {"jsonrpc": "2.0", "id": "l", "method": "tools/list"}
    async with aclosing(server.ask(listing, Secrets(), PATIENT)) as said:
        found = [message async for message in said]
    assert found[0]["id"] == "l" and found[0]["result"]["greeted"] is True


async def test_calls_at_once_get_their_own_answers_whatever_their_ids(site: Site) -> None:
    server = await site.server()
    found = await asyncio.gather(
        *(ask(server, "echo", number=number) for number in range(40)), site.said("progress")
    )
    for number, messages in enumerate(found[:-1]):
        assert json.loads(text(messages[-1])) == {"number": number}
    progress = [one["params"] for one in found[-1] if one.get("method") == "notifications/progress"]
    assert progress == [{"progressToken": "mine", "progress": step} for step in range(3)]


async def test_keys_and_users_have_servers_of_their_own(site: Site) -> None:
    seats = [SEAT, SEAT._replace(user="u2"), SEAT._replace(key_id="key2")]
    seats.append(SEAT._replace(stateless=True))
    pids = {await site.text("pid", seat) for seat in seats}
    assert len(pids) == len(seats)


async def test_a_program_gets_its_values_in_the_environment_alone(site: Site) -> None:
    found = json.loads(await site.text("environment"))
    assert found["TOKEN"] == SECRET
    assert processes(SECRET) == {}


async def test_another_value_means_another_program_and_the_old_one_ends_drained(
    site: Site,
) -> None:
    old = await site.server()
    sleeping = asyncio.create_task(ask(old, "sleep", seconds=1))
    while not old.under_way:
        await asyncio.sleep(0.01)
    site.env = {"TOKEN": "the-value-after-it"}
    assert json.loads(await site.text("environment"))["TOKEN"] == "the-value-after-it"
    assert site.running == 2
    assert text((await sleeping)[-1]) == "slept"
    await until(lambda: site.running == 1)


async def test_a_crash_is_told_to_who_asked_and_the_next_call_starts_it_anew(site: Site) -> None:
    before = await site.text("pid")
    sleeping = asyncio.create_task(site.said("sleep", seconds=60))
    await asyncio.sleep(0)
    for name, task in (("crash", site.said("crash")), ("sleep", sleeping)):
        with pytest.raises(Denied, match="has ended") as refused:
            await task
        assert refused.value.code is Code.UPSTREAM_UNREACHABLE, name
    assert await site.text("pid") != before


async def test_who_asks_what_has_just_ended_is_told_at_once(site: Site) -> None:
    server = await site.server()
    server.kill()
    await server.ended()
    with pytest.raises(Denied, match="has ended"):
        await ask(server, "echo")


async def test_what_crashes_again_and_again_is_left_alone_for_a_while(site: Site) -> None:
    async def crash() -> str:
        with pytest.raises(Denied) as refused:
            await site.said("crash")
        return str(refused.value)

    await crash()
    await crash()
    assert "again and again" in await crash()
    async with asyncio.timeout(20):
        while True:
            with suppress(Denied):
                assert await site.text("echo") == "{}"
                break
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("command", [("no-such-program",), ("sh", "-c", "exit 0")])
async def test_what_fails_at_its_start_again_and_again_is_left_alone_for_a_while(
    site: Site, command: tuple[str, ...]
) -> None:
    reasons = []
    for _ in range(3):
        with pytest.raises(Denied) as refused:
            await site.server(command=command)
        reasons.append(str(refused.value))
    assert [("again and again" in reason) for reason in reasons] == [False, False, True]


async def test_who_does_not_wait_for_a_start_makes_no_crash_of_it(site: Site) -> None:
    for _ in range(3):
        asked = asyncio.create_task(site.server(command=("sleep", "60")))
        await until(lambda: bool(site.pool.running()))
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert await site.text("echo") == "{}"


async def test_a_program_that_is_not_there_or_speaks_no_mcp_is_told_so(site: Site) -> None:
    with pytest.raises(Denied) as refused:
        await site.server(command=("no-such-program",))
    assert refused.value.code is Code.UPSTREAM_UNREACHABLE
    other = SEAT._replace(server="cat")
    with pytest.raises(Denied) as silent:
        await site.server(other, command=("sh", "-c", "exit 0"))
    assert silent.value.code is Code.UPSTREAM_UNREACHABLE
    third = SEAT._replace(server="sleep")
    slow = ProgramTerms(start=0.3)
    with pytest.raises(Denied) as late:
        await site.server(third, command=("sleep", "60"), program=slow)
    assert late.value.code is Code.UPSTREAM_TIMEOUT


async def test_a_program_that_answers_the_greeting_with_an_error_is_asked_nothing(
    site: Site,
) -> None:
    refusal = '{"jsonrpc": "2.0", "id": %s, "error": {"code": 1, "message": "no"}}'
    program = (
        "import json, sys\n"
        "asked = json.loads(sys.stdin.readline())\n"
        f"print({refusal!r} % json.dumps(asked['id']), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with pytest.raises(Denied, match="does not speak MCP") as refused:
        await site.server(command=(python(), "-c", program, site.mark))
    assert refused.value.code is Code.UPSTREAM_PROTOCOL
    await until(lambda: site.running == 0)


async def test_who_stops_waiting_has_the_call_cancelled(site: Site) -> None:
    server = await site.server()
    said = server.ask(request("sleep", seconds=600), Secrets(), PATIENT)
    waiting = asyncio.ensure_future(anext(said))
    while not server.under_way:
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await said.aclose()
    assert len(json.loads(await site.text("cancelled"))) == 1
    assert server.under_way == 0


async def test_one_server_has_so_many_calls_under_way_and_the_next_one_is_told_so(
    site: Site,
) -> None:
    server = await site.server()
    calls = [asyncio.create_task(ask(server, "sleep", seconds=600)) for _ in range(MOST_UNDER_WAY)]
    while server.under_way < MOST_UNDER_WAY:
        await asyncio.sleep(0.01)
    with pytest.raises(Denied) as refused:
        await ask(server, "echo")
    assert refused.value.code is Code.BUSY
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert await ask(server, "echo")


async def test_a_call_that_takes_too_long_is_given_up_and_cancelled(site: Site) -> None:
    server = await site.server()
    with pytest.raises(Denied) as late:
        await ask(server, "sleep", Timeouts(first_byte=0.2), seconds=600)
    assert late.value.code is Code.UPSTREAM_TIMEOUT
    assert len(json.loads(await site.text("cancelled"))) == 1


async def test_a_program_that_hangs_is_replaced_whoever_gives_it_up(
    site: Site, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio_server, "GRACE_SECONDS", 0)
    server, before = await site.server(), await site.text("pid")
    await ask(server, "echo", deaf=True)
    with pytest.raises(Denied):
        await ask(server, "echo", Timeouts(first_byte=0.2))
    await until(lambda: not server.is_open)
    assert await site.text("pid") != before
    await until(lambda: site.running == 1)
    assert [one["event"] for one in logged].count("tool_hangs") == 1


async def test_a_program_that_only_takes_long_for_a_call_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = 1.0
    monkeypatch.setattr(stdio_server, "GRACE_SECONDS", grace)
    server = await site.server()
    with pytest.raises(Denied):
        # It does not even hear that it is cancelled.
        await ask(server, "after_flood", Timeouts(first_byte=0.2))
    # Until silence would count as hanging, and the pool has looked at its servers.
    await asyncio.sleep(grace + 2 * LOOK_SECONDS)
    assert await site.server() is server


async def test_what_a_server_said_while_this_process_stalled_is_in_time(
    site: Site, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio_server, "GRACE_SECONDS", 0)
    server = await site.server()
    asked = asyncio.create_task(ask(server, "sleep", Timeouts(first_byte=0.5), seconds=0.2))
    while not server.under_way:
        await asyncio.sleep(0)
    # Longer than the pool takes to look at its servers, too.
    await stall(0.8)
    assert text((await asked)[-1]) == "slept"
    assert await site.server() is server
    assert not [one for one in logged if one["event"] == "tool_hangs"]


async def test_an_answer_that_is_too_long_fails_alone(site: Site) -> None:
    site.tools = replace(site.tools, program=ProgramTerms(output=10_000))
    sleeping = asyncio.create_task(site.said("sleep", seconds=0.5))
    with pytest.raises(Denied, match="longer than it may be"):
        await site.said("big", size=20_000)
    assert text((await sleeping)[-1]) == "slept"


async def test_an_answer_that_holds_too_much_fails_alone(site: Site) -> None:
    """It is short, and whoever goes through it level by level does not get to its end."""
    for levels in (LEVELS, 900):
        with pytest.raises(Denied, match="longer than it may be") as refused:
            await site.said("nest", levels=levels)
        assert refused.value.code is Code.UPSTREAM_PROTOCOL
    assert (await site.said("nest", levels=LEVELS - 2))[-1]["result"]


async def turns_while(site: Site, **poured: object) -> int:
    """How often everybody else had a turn in a second, while a tool pours out lines."""
    pouring = asyncio.create_task(site.said("pour", **poured))
    server = await site.server()
    await until(lambda: server.under_way > 0)
    # Until so much is there that it need not be waited for.
    await asyncio.sleep(0.5)
    loop = asyncio.get_running_loop()
    turns, ends = 0, loop.time() + 1
    while loop.time() < ends:
        await asyncio.sleep(0)
        turns += 1
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    await server.close()
    return turns


@pytest.mark.parametrize(
    "poured",
    [
        {"line": "{}"},
        {"line": "x"},
        {"line": '{"method": "m"}'},
        {"line": '{"id": 1, "method": "m"}'},
        {"line": "", "to": "stderr"},
    ],
    ids=["nothing", "no-json", "unasked", "asks", "stderr"],
)
async def test_a_tool_that_pours_out_lines_leaves_others_their_turn_and_the_log_short(
    site: Site, poured: dict[str, object], logged: list[dict[str, Any]]
) -> None:
    assert await turns_while(site, **poured) > 50
    assert len(logged) < 150
    if poured["line"] == "x":
        (cut,) = [one for one in logged if one["event"] == "tool_said_no_json_cut"]
        assert cut["lines"] > 100


async def test_what_a_server_does_not_read_is_not_piled_up(site: Site) -> None:
    """Neither answers to what it asks, again and again, nor calls."""
    asks = json.dumps({"id": "s" * 60_000, "method": "sampling/createMessage"})
    server = await site.server()
    pouring = asyncio.create_task(ask(server, "pour", line=asks, deaf=True))
    waiting: Any = server._child.stdin.transport
    await until(lambda: waiting.get_write_buffer_size() > MOST_WAITING)
    for _ in range(8):
        with pytest.raises(Denied) as late:
            await ask(server, "echo", Timeouts(first_byte=0.2), text="x" * 2**20)
        assert late.value.code is Code.UPSTREAM_TIMEOUT
    assert waiting.get_write_buffer_size() < 2 * MOST_WAITING
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)


async def test_a_line_without_end_ends_the_program(site: Site) -> None:
    with pytest.raises(Denied, match="longer than it may be") as refused:
        await site.said("endless_line")
    assert refused.value.code is Code.UPSTREAM_PROTOCOL
    await until(lambda: site.running == 0)


async def test_what_is_no_message_is_passed_over(site: Site) -> None:
    assert await site.text("print") == "called print"
    assert await site.text("strange") == "\ud800" + str(2**70)


async def test_a_slow_caller_loses_notifications_and_never_the_answer(site: Site) -> None:
    server = await site.server()
    async with aclosing(server.ask(request("flood"), Secrets(), PATIENT)) as said:
        first = await anext(said)
        assert first["method"] == "notifications/message"
        # The rest arrives while nobody takes it.
        assert await site.text("after_flood") == "called after_flood"
        messages = [message async for message in said]
    assert "result" in messages[-1] and len(messages) < 100


async def test_a_server_that_asks_its_client_is_answered_by_the_gateway(site: Site) -> None:
    answers = json.loads(await site.text("ask"))
    assert [one["id"] for one in answers] == ["s1", "s2"]
    assert answers[0]["error"]["code"] == -32601 and answers[1]["result"] == {}


async def test_stderr_is_logged_without_what_is_secret(
    site: Site, logged: list[dict[str, Any]]
) -> None:
    argument = "an-argument-that-is-secret"
    server = await site.server()
    said = server.ask(
        request("stderr", text=f"a {SECRET} b {argument} c {SECRET.encode().hex()}"),
        Secrets((("other", argument),)),
        PATIENT,
    )
    async with aclosing(said):
        assert [one async for one in said]
    await until(lambda: any(one.get("text", "").startswith("a ") for one in logged))
    told = next(one["text"] for one in logged if one.get("text", "").startswith("a "))
    assert told == "a [redacted:token] b [redacted:other] c [redacted:token]"
    assert SECRET not in str(logged) and argument not in str(logged)


async def test_half_a_secret_on_stderr_waits_for_its_other_half_whatever_comes_between(
    logged: list[dict[str, Any]],
) -> None:
    """A call that brings secrets of its own, for instance."""
    stream = asyncio.StreamReader()
    stderr = ToolStderr("t", Secrets((("token", SECRET),)))
    reading = asyncio.create_task(stderr.read(stream))
    for number, half in enumerate((SECRET[:9], SECRET[9:] + " an-argu", "ment-of-it\n")):
        stream.feed_data(half.encode())
        await until(lambda: not stream._buffer)  # type: ignore[attr-defined]
        stderr.hide(Secrets((("other", "an-argument-of-it"), (f"more{number}", f"{number}" * 9))))
    stream.feed_eof()
    await reading
    assert [one["text"] for one in logged] == ["[redacted:token] [redacted:other]"]
    assert stderr.tail == b"[redacted:token] [redacted:other]\n"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (SECRET[:9] + "\n" + SECRET[9:] + "\n", "[redacted:token]"),
        (
            base64.encodebytes(b"x" * 51 + SECRET.encode()).decode(),
            "eHh4" * 17 + "[redacted:token]",
        ),
        ("\r\n".join(SECRET.encode().hex()) + "\r\n", "[redacted:token]"),
    ],
)
async def test_a_secret_that_is_folded_on_stderr_is_in_no_lines_of_the_log(
    written: str, told: str, logged: list[dict[str, Any]]
) -> None:
    stream = asyncio.StreamReader()
    stderr = ToolStderr("t", Secrets((("token", SECRET),)))
    reading = asyncio.create_task(stderr.read(stream))
    for line in written.splitlines(keepends=True):
        stream.feed_data(line.encode())
        await until(lambda: not stream._buffer)  # type: ignore[attr-defined]
    # Nothing comes after it, and it is told all the same.
    stream.feed_data(b"hangs\n")
    await until(lambda: len(logged) == 2)
    assert [one["text"] for one in logged] == [told, "hangs"]
    stream.feed_eof()
    await reading


async def test_a_flood_on_stderr_is_counted(site: Site, logged: list[dict[str, Any]]) -> None:
    await site.said("stderr", text="line\n" * 1_000 + "x" * 10_000)
    server = await site.server()
    await server.close()
    lines = [one for one in logged if one["event"] == "tool_stderr"]
    assert len(lines) <= 100
    assert any(one["event"] == "tool_stderr_cut" for one in logged)


async def test_what_nobody_uses_ends(site: Site) -> None:
    site.tools = replace(site.tools, program=ProgramTerms(idle=0.2))
    before = await site.text("pid")
    await until(lambda: site.running == 0)
    assert await site.text("pid") != before


async def test_where_there_is_no_room_the_one_idle_for_longest_makes_it(tmp_path: Path) -> None:
    async for site in sites(tmp_path, 2):
        seats = [SEAT._replace(user=f"u{number}") for number in range(3)]
        await site.text("echo", seats[0])
        second = await site.text("pid", seats[1])
        await site.text("echo", seats[2])
        assert site.running == 2
        assert await site.text("pid", seats[1]) == second
        busy = [asyncio.create_task(site.said("sleep", seat, seconds=60)) for seat in seats[1:]]
        servers = [await site.server(seat) for seat in seats[1:]]
        while not all(server.under_way for server in servers):
            await asyncio.sleep(0.01)
        with pytest.raises(Denied) as full:
            await site.text("echo", seats[0])
        assert full.value.code is Code.BUSY and full.value.retry_after == 1
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_what_makes_room_ends_though_nobody_waits_for_the_room_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio_server, "GRACE_SECONDS", 0.1)
    async for site in sites(tmp_path, 1):
        stubborn = f"trap '' TERM; {python()} {PROGRAM} {site.mark}; while :; do sleep 1; done"
        server = await site.server(command=("sh", "-c", stubborn))
        asked = asyncio.create_task(site.server(SEAT._replace(user="u2")))
        while server.is_open:
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda site=site: not site.pool.running())


async def test_the_end_of_the_gateway_is_the_end_of_all(tmp_path: Path) -> None:
    async for site in sites(tmp_path, 8):
        await site.text("echo")
        sleeping = asyncio.create_task(site.said("sleep", SEAT._replace(user="u2"), seconds=60))
        await until(lambda site=site: site.running == 2)
        await site.pool.close()
        assert site.running == 0
        with pytest.raises(Denied):
            await sleeping


async def test_what_starts_while_all_is_ended_is_ended_too(site: Site) -> None:
    """Its program runs before the pool has heard of it."""
    start, runs, go_on = site.pool._launcher.start, asyncio.Event(), asyncio.Event()

    async def held_up(program: Program) -> Child:
        child = await start(program)
        runs.set()
        await go_on.wait()
        return child

    site.pool._launcher.start = held_up  # type: ignore[method-assign]
    asked = asyncio.create_task(site.said("echo"))
    await runs.wait()
    ending = asyncio.create_task(site.pool.close())
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(10):
        await ending
    assert site.running == 0
    with pytest.raises(Denied):
        await asked
    with pytest.raises(Denied):
        await site.said("echo")


async def test_a_program_that_will_not_end_is_ended(tmp_path: Path) -> None:
    async for site in sites(tmp_path, 8):
        stubborn = f"trap '' TERM; {python()} {PROGRAM} {site.mark}; while :; do sleep 1; done"
        server = await site.server(command=("sh", "-c", stubborn))
        await server.close()
        assert site.running == 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_thousand_calls_and_crashes_leave_nothing(site: Site) -> None:
    await site.text("echo")
    await (await site.server()).close()
    before = descriptors()
    for number in range(20):
        await asyncio.gather(*(site.text("echo", n=n) for n in range(50)))
        if number % 4 == 3:
            (pid,) = [int(await site.text("pid"))]
            os.kill(pid, signal.SIGKILL)
            await until(lambda: site.running == 0)
            site.pool._entries.clear()
    await (await site.server()).close()
    await until(lambda: descriptors() <= before)
    assert not [one for one in children_of(os.getpid()) if one[1] == "Z"]


def children_of(pid: int) -> list[tuple[int, str]]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid:
            found.append((int(stat.parent.name), state))
    return found
