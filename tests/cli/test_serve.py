"""`gateway serve`: settings, first start, and an end that loses no answer."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.app import LOOKUP_THREADS
from gateway.app.run import END_SECONDS
from gateway.domain.settings import StoreSettings
from gateway.signals import REPEAT_SECONDS
from tests.cli.commands import PEPPER
from tests.cli.crews import SlowAgent
from tests.cli.serving import PATIENCE, REPOSITORY, Connection, Served, serving, start
from tests.hanging import hanging


@pytest.fixture
def settings(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(text)
    return {"GATEWAY_REDIS_URL": store.url or "", "GATEWAY_PEPPER": PEPPER}


async def test_after_sigterm_what_runs_is_finished_and_nothing_new_begins(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings) as gateway:
        running = await gateway.connect()
        running.send("/agents/a/slow", key)
        await agent.arrived.wait()
        gateway.stop()
        await refuses_connections(gateway)
        agent.go_on.set()
        answer = await running.answer()
        assert (answer.status, answer.body) == (200, b"finished")
        assert answer.headers["Connection"] == "close"
        assert await running.ended()
        assert await gateway.ends() == 0
        assert gateway.events[-1]["connections_cut"] == 0


async def test_a_start_that_waits_for_a_disk_says_so_and_is_ended_by_ctrl_c(
    settings: dict[str, str], tmp_path: Path
) -> None:
    (file,) = (tmp_path / "policies").glob("*.yaml")
    free = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    started = []
    try:
        with hanging(file):
            for _ in "12":
                given = {**settings, **free}
                started.append(await start("serve", folder=tmp_path, settings=given))
            ended, patient = map(Served, started)
            for gateway in (ended, patient):
                told = await gateway.event("policies_unread")
                assert told["directory"].endswith("policies")
            ended.stop(signal.SIGINT)
            async with asyncio.timeout(PATIENCE / 2):
                assert await ended.ends() != 0
        await patient.event("listening")
        patient.stop()
        assert await patient.ends() == 0
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()


async def test_a_load_balancer_learns_of_the_end_on_the_connection_that_it_has(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings) as gateway:
        running, probe, caller = [await gateway.connect() for _ in range(3)]
        assert (await probe.get("/readyz")).status == 200
        assert (await caller.get("/agents/a/quick", key)).status == 200
        running.send("/agents/a/slow", key)
        await agent.arrived.wait()
        gateway.stop()
        await refuses_connections(gateway)
        told = await probe.get("/readyz")
        assert (told.status, told.json) == (503, {"status": "unready", "missing": ["draining"]})
        assert told.headers["Connection"] == "close"
        last = await caller.get("/agents/a/quick", key)
        assert (last.status, last.headers["Connection"]) == (200, "close")
        assert await caller.ended()
        agent.go_on.set()
        assert (await running.answer()).status == 200
        assert await gateway.ends() == 0


async def test_while_load_balancers_look_elsewhere_whoever_comes_is_served(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    async with serving("--shutdown-delay", "10m", folder=tmp_path, settings=settings) as gateway:
        kept = await gateway.connect()
        assert (await kept.get("/agents/a/quick", key)).headers.get("Connection") != "close"
        gateway.stop()
        await gateway.event("shutdown_delayed")
        told = await gateway.get("/readyz")
        assert (told.status, told.json) == (503, {"status": "unready", "missing": ["draining"]})
        for connection in (kept, await gateway.connect()):
            answer = await connection.get("/agents/a/quick", key)
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert await connection.ended()
        # Before that it might be the echo of the first.
        await asyncio.sleep(REPEAT_SECONDS)
        gateway.stop()
        assert await gateway.ends() == 0
        assert gateway.events[-1]["event"] == "stopped"


async def test_the_delay_of_the_end_ends_by_itself(
    settings: dict[str, str], tmp_path: Path
) -> None:
    async with serving("--shutdown-delay", "50ms", folder=tmp_path, settings=settings) as gateway:
        gateway.stop()
        assert await gateway.ends() == 0
        assert [one["event"] for one in gateway.events[-3:]] == [
            "shutdown_delayed",
            "draining",
            "stopped",
        ]


async def test_a_request_that_the_kernel_took_before_sigterm_is_answered(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings) as gateway:
        assert (await gateway.get("/agents/a/quick", key)).status == 200
        gateway.stop(signal.SIGSTOP)
        waiting = [await gateway.connect() for _ in range(20)]
        for connection in waiting:
            connection.send("/agents/a/quick", key)
        gateway.stop(signal.SIGTERM)
        gateway.stop(signal.SIGCONT)
        answers = [await connection.answer() for connection in waiting]
        assert [answer.status for answer in answers] == [200] * 20
        assert await gateway.ends() == 0


async def test_under_load_every_connection_is_told_to_close_by_an_answer(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings) as gateway:
        callers = [await gateway.connect() for _ in range(20)]
        answered = 0

        async def call_until_told(connection: Connection) -> None:
            nonlocal answered
            while True:
                answer = await connection.get("/agents/a/quick", key)
                assert answer.status == 200
                answered += 1
                if answer.headers.get("Connection") == "close":
                    return

        calling = [asyncio.create_task(call_until_told(caller)) for caller in callers]
        while answered < 500:
            await asyncio.wait(calling, timeout=0.01)
        gateway.stop()
        await asyncio.gather(*calling)
        assert await gateway.ends() == 0
        assert gateway.events[-1]["connections_cut"] == 0


async def test_idle_connections_do_not_hold_up_the_end(
    settings: dict[str, str], tmp_path: Path
) -> None:
    async with serving("--drain", "10m", folder=tmp_path, settings=settings) as gateway:
        used, unused = await gateway.connect(), await gateway.connect()
        assert (await used.get("/livez")).status == 200
        gateway.stop()
        assert await gateway.ends() == 0
        assert await used.ended()
        assert await unused.ended()


async def test_drain_bounds_the_end_and_the_cut_answer_does_not_look_whole(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    async with serving("--drain", "1s", folder=tmp_path, settings=settings) as gateway:
        running = await gateway.connect()
        running.send("/agents/a/slow", key)
        await agent.arrived.wait()
        gateway.stop()
        assert await gateway.ends() == 0
        assert gateway.events[-1]["connections_cut"] == 1
        with pytest.raises(ConnectionResetError):
            await running.ended()


async def test_whoever_asks_again_does_not_wait_for_the_drain(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    async with serving("--drain", "10m", folder=tmp_path, settings=settings) as gateway:
        running = await gateway.connect()
        running.send("/agents/a/slow", key)
        await agent.arrived.wait()
        gateway.stop(signal.SIGINT)
        await gateway.event("draining")
        # Before that it might be the echo of the first.
        await asyncio.sleep(REPEAT_SECONDS)
        gateway.stop(signal.SIGINT)
        assert await gateway.ends() == 1


async def test_without_the_parsers_that_it_is_built_on_it_does_not_start(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """aiohttp falls back to parsers in Python in silence; they take what the C ones refuse."""
    settings = {**settings, "AIOHTTP_NO_EXTENSIONS": "1", "GATEWAY_LISTEN": "127.0.0.1:0"}
    process = await start("serve", folder=tmp_path, settings=settings, anew=True)
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1].startswith("gateway: aiohttp ")
    assert b"Traceback" not in said


async def test_a_reader_of_the_access_log_that_has_stopped_holds_nothing_up(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    async with serving("--access-log", "-", folder=tmp_path, settings=settings) as gateway:
        # Its stdout is a pipe that nobody reads; it holds 64 KiB, and asyncio as much again.
        caller = await gateway.connect()
        for _ in range(2000):
            assert (await caller.get("/agents/a/quick", key)).status == 200
        gateway.stop()
        assert await gateway.ends() == 0
        dropped = gateway.events[-1]
        assert dropped["event"] == "access_lines_dropped"
        lines = gateway.printed.splitlines()
        assert len(lines) + dropped["count"] == 2000
        assert all(json.loads(line)["status"] == 200 for line in lines)


async def refuses_connections(gateway: Served) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                (await gateway.connect()).writer.close()
            except ConnectionError:
                return


async def test_silent_name_servers_leave_threads_for_the_names_of_others(
    settings: dict[str, str], key: str, agent: SlowAgent, tmp_path: Path
) -> None:
    """A look-up waits as long as the system's resolver does, and nobody can call it back."""
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://localhost:{agent.port}'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(text)
    async with serving(folder=tmp_path, settings=settings) as served:
        assert (await served.get("/agents/a/quick", key)).body == b"quick"
        threads = list(Path(f"/proc/{served.process.pid}/task").iterdir())
        assert len(threads) > LOOKUP_THREADS


async def test_a_gateway_whose_log_nobody_takes_goes_on(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    policy = tmp_path / "policies" / "b.yaml"
    policy.write_text("version: 1\nagents:\n  dead: {upstream: 'http://127.0.0.1:1'}\n")
    async with serving(folder=tmp_path, settings=settings, anew=True) as served:
        served.process._transport.get_pipe_transport(2).close()  # type: ignore[attr-defined]
        # What cannot be reached is logged in the middle of the request.
        assert (await served.get("/agents/dead/x", key)).status == 502
        assert (await served.get("/agents/a/quick", key)).status == 200
        served.stop()
        assert await served.ends() == 0


async def test_a_thread_that_never_ends_keeps_no_gateway_from_its_end(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """One that a disk holds up, or of an own hook."""

    async def ends(signals: int) -> None:
        how = {"folder": tmp_path, "settings": settings, "anew": True}
        async with serving("--drain", "0s", **how) as gateway:
            gateway.stop()
            if signals == 2:
                await asyncio.sleep(REPEAT_SECONDS + 0.2)
                gateway.stop()
            async with asyncio.timeout(END_SECONDS if signals == 2 else PATIENCE):
                assert await gateway.ends() == 1
            assert gateway.events[-1]["event"] == "ended_unfinished"

    (tmp_path / "hanging.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "async def look(call): return None\n"
    )
    (tmp_path / "policies" / "b.yaml").write_text(
        "version: 1\ntools: {b: {transport: http, upstream: 'http://127.0.0.1:9/mcp', "
        "hooks: {before: ['hanging:look']}}}\n"
    )
    settings["PYTHONPATH"] = f"{REPOSITORY}:{tmp_path}"
    async with asyncio.TaskGroup() as both:
        both.create_task(ends(signals=1))
        both.create_task(ends(signals=2))


def test_what_has_no_thread_for_it_ends_in_time_too() -> None:
    """Else a bound on processes that is reached would have it end at once, and nothing drained."""
    code = (
        "import threading, time\n"
        "from gateway.signals import end_by\n"
        "def start(thread): raise RuntimeError('can\\'t start new thread')\n"
        "threading.Thread.start = start\n"
        "end_by(0.2)\n"
        "print('goes on', flush=True)\n"
        "time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (-signal.SIGALRM, b"goes on\n")
