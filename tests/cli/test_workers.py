"""`gateway serve --workers N`: several processes that callers see as one."""

import asyncio
import json
import os
import re
import signal
import socket
from base64 import b64encode
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.signals import REPEAT_SECONDS
from gateway.store.workers import TTL_SECONDS
from tests.cli.commands import MASTER, VaultCommands
from tests.cli.crews import Crew, Load, SlowAgent, alive, crew, gone, issue
from tests.cli.serving import PATIENCE, Served, refused, start
from tests.flows.world import PEPPER
from tests.hanging import hanging


@pytest.fixture
def settings(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(text)
    return {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        "GATEWAY_MASTER_KEY": MASTER,
        "GATEWAY_ACCESS_LOG": "off",
    }


async def metric(crew: Crew, pid: int, name: str) -> float:
    """What this worker says when it is the one that is asked."""
    connection = await crew.connect_to(pid, admin=True)
    answer = await connection.get("/metrics")
    rows = re.findall(rf"^{re.escape(name)} (\S+)$", answer.body.decode(), re.MULTILINE)
    return float(rows[0]) if rows else 0.0


async def reaches(crew: Crew, pid: int, name: str, number: float) -> None:
    """Workers tell of what they handled in batches, some time a second."""
    async with asyncio.timeout(5):
        while await metric(crew, pid, name) != number:
            await asyncio.sleep(0.05)


async def test_how_late_the_loop_of_a_worker_was_is_told_by_every_other(
    settings: dict[str, str], tmp_path: Path
) -> None:
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        held_up, asked = made.pids
        lag = "gateway_loop_lag_seconds"

        async def late() -> float:
            soon = await metric(made, asked, f'{lag}_bucket{{le="0.5"}}')
            return await metric(made, asked, f"{lag}_count") - soon

        before = await late()
        os.kill(held_up, signal.SIGSTOP)
        await asyncio.sleep(1.0)
        os.kill(held_up, signal.SIGCONT)
        async with asyncio.timeout(5):
            while await late() == before:
                await asyncio.sleep(0.05)


async def test_every_worker_answers_counts_for_all_and_is_heard_of(
    settings: dict[str, str], client: Redis, agent: SlowAgent, tmp_path: Path
) -> None:
    key = await issue(client)
    async with crew(workers=3, folder=tmp_path, settings=settings) as made:
        for pid in made.pids:
            connection = await made.connect_to(pid)
            assert (await connection.get("/agents/a/quick", key.text)).status == 200
            connection.send("/agents/a/stream", key.text)
            await connection.reader.readuntil(b"data: one")
        for pid in made.pids:
            wanted = 'gateway_requests_total{agent="a",status="2xx"}'
            await reaches(made, pid, wanted, 3)
            await reaches(made, pid, "gateway_admission_seconds_count", 3)
            assert await metric(made, pid, "gateway_open_streams") == 3
        names = [name async for name in client.scan_iter("gw:worker:*")]
        assert len(names) == 3
        beats = [await client.hgetall(name) for name in names]
        assert {int(beat["pid"]) for beat in beats} == set(made.pids)
        assert {beat["listen"] for beat in beats} == {"{}:{}".format(*made.served.data)}
        assert len({(beat["version"], beat["revision"], beat["host"]) for beat in beats}) == 1
        assert all([0 < await client.ttl(name) <= TTL_SECONDS for name in names])
        agent.go_on.set()
        made.served.stop()
        assert await made.served.ends() == 0
        assert [name async for name in client.scan_iter("gw:worker:*")] == []


async def test_a_killed_worker_costs_its_own_connections_and_comes_back(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    key = await issue(client)
    async with crew(workers=3, folder=tmp_path, settings=settings) as made:
        kept = {pid: await made.connect_to(pid) for pid in made.pids}
        victim = made.pids.pop(1)
        streaming = kept[victim]
        streaming.send("/agents/a/stream", key.text)
        await streaming.reader.readuntil(b"data: one")
        assert await metric(made, made.pids[0], "gateway_open_streams") == 1
        os.kill(victim, signal.SIGKILL)
        ended = await made.served.event("worker_ended")
        assert (ended["worker"], ended["code"]) == (victim, -signal.SIGKILL)
        for _ in range(20):
            assert (await made.served.get("/agents/a/quick", key.text)).status == 200
        for pid in made.pids:
            assert (await kept[pid].get("/agents/a/quick", key.text)).status == 200
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await streaming.reader.readexactly(1000)
        assert await metric(made, made.pids[0], "gateway_open_streams") == 0
        new = await made.next_pid()
        connection = await made.connect_to(new)
        assert (await connection.get("/agents/a/quick", key.text)).status == 200
        assert made.served.process.returncode is None


async def test_a_worker_that_cannot_start_is_tried_again_while_the_others_serve(
    settings: dict[str, str], tmp_path: Path
) -> None:
    pepper = pepper_file(settings, tmp_path)
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        away = pepper.rename(tmp_path / "away")
        os.kill(made.pids.pop(), signal.SIGKILL)
        tried = [await not_ready(made) for _ in range(3)]
        assert len(set(tried)) == 3
        assert (await made.served.get("/readyz")).status == 200
        away.rename(pepper)
        connection = await made.connect_to(await made.next_pid())
        assert (await connection.get("/readyz")).status == 200


async def test_workers_that_end_while_the_files_are_bad_are_replaced_under_the_last_good_ones(
    settings: dict[str, str], client: Redis, agent: SlowAgent, tmp_path: Path
) -> None:
    key = await issue(client)
    file = tmp_path / "policies" / "b.yaml"
    good = f"version: 1\nagents:\n  b: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        file.write_text(good)
        for _ in made.pids:
            await made.served.event("policies_loaded")
        file.write_text(good.replace("upstream", "upstraem"))
        for _ in made.pids:
            await made.served.event("policies_refused")
        for _ in range(2):
            os.kill(made.pids.pop(0), signal.SIGKILL)
            connection = await made.connect_to(await made.next_pid())
            assert (await connection.get("/agents/b/quick", key.text)).status == 200
            # It says so too, and has the metric and the console say it.
            await made.served.event("policies_refused")
            assert await metric(made, made.pids[-1], "gateway_policies_refused") == 1
        file.write_text(good.replace("b:", "c:"))
        for _ in made.pids:
            await made.served.event("policies_loaded")
        for pid in made.pids:
            connection = await made.connect_to(pid)
            assert (await connection.get("/agents/c/quick", key.text)).status == 200


def pepper_file(settings: dict[str, str], folder: Path) -> Path:
    """Now every worker reads the pepper from it, and none starts without it."""
    file = folder / "pepper"
    file.write_text(settings.pop("GATEWAY_PEPPER"))
    settings["GATEWAY_PEPPER_FILE"] = str(file)
    return file


async def not_ready(made: Crew) -> int:
    """The next worker that ends before it serves. What it says itself is no event."""
    assert made.served.process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        async for line in made.served.process.stderr:
            if b"worker_not_ready" in line:
                event = json.loads(line)
                assert event["code"] != 0
                return int(event["worker"])
    raise AssertionError("it is not tried again")


async def test_a_rolling_restart_under_load_fails_no_request_and_no_line_of_the_log(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    key = await issue(client)
    lines = tmp_path / "access.log"
    more = ("--access-log", str(lines))
    async with crew(*more, workers=2, folder=tmp_path, settings=settings) as made:
        old = list(made.pids)
        load, comers = Load(made.served, key.text), Load(made.served, key.text, keeps=False)
        async with load.running(callers=6), comers.running(callers=2):
            made.served.stop(signal.SIGUSR2)
            await made.served.event("rolling_restart_done")
            for pid in old:
                await gone(pid)
        assert load.failed == comers.failed == []
        assert min(load.answered, comers.answered) > 100
        answered = load.answered + comers.answered
        made.pids = [event["new"] for event in made.served.events if "new" in event]
        assert len({*old, *made.pids}) == 4
        wanted = 'gateway_requests_total{agent="a",status="2xx"}'
        await reaches(made, made.pids[0], wanted, answered)
        made.served.stop()
        assert await made.served.ends() == 0
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len([line for line in told if line["agent"] == "a"]) == answered


async def test_lines_on_stdout_are_whole_however_many_workers_write_them(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    key = await issue(client)
    settings = {**settings, "GATEWAY_ACCESS_LOG": "-"}
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        assert made.served.process.stdout is not None
        load = Load(made.served, key.text)
        async with load.running(callers=8):
            while load.answered < 600:
                await asyncio.sleep(0.05)
        # Nobody has read so far: the pipe is full, and all writers wait.
        made.served.stop()
        async with asyncio.timeout(PATIENCE):
            written = await made.served.process.stdout.read()
        assert await made.served.ends() == 0
    told = [json.loads(line) for line in written.splitlines()]
    assert load.failed == []
    assert len([line for line in told if line["agent"] == "a"]) == load.answered


async def test_after_max_requests_a_worker_is_replaced_and_nobody_notices(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    key = await issue(client)
    more = ("--max-requests", "50")
    async with crew(*more, workers=1, folder=tmp_path, settings=settings) as made:
        load = Load(made.served, key.text)
        async with load.running(callers=2):
            replaced = await made.served.event("worker_replaced")
            await gone(replaced["old"])
        assert replaced["old"] == made.pids[0]
        assert load.failed == []
        assert load.answered >= 50


async def test_after_sigterm_what_runs_in_any_worker_is_finished(
    settings: dict[str, str], client: Redis, agent: SlowAgent, tmp_path: Path
) -> None:
    key = await issue(client)
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        kept = [await made.connect_to(pid) for pid in made.pids]
        for connection in kept:
            connection.send("/agents/a/slow", key.text)
        async with asyncio.timeout(PATIENCE):
            while agent.running < 2:
                await asyncio.sleep(0.01)
        made.served.stop()
        await refuses_connections(made)
        # It is too late to replace anybody.
        made.served.stop(signal.SIGUSR2)
        agent.go_on.set()
        answers = [await connection.answer() for connection in kept]
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"finished")] * 2
        assert await made.served.ends() == 0
        cut = [e["connections_cut"] for e in made.served.events if "connections_cut" in e]
        assert cut == [0, 0]
        assert "rolling_restart_begun" not in [e["event"] for e in made.served.events]


async def refuses_connections(made: Crew) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                (await made.served.connect()).writer.close()
            except ConnectionRefusedError:
                return
            await asyncio.sleep(0.01)


async def test_while_load_balancers_look_elsewhere_no_worker_is_ready_and_each_serves(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    """Nor are those that take the place of others meanwhile, which no delay holds up."""
    key = await issue(client)
    more = ("--shutdown-delay", "10m")
    async with crew(*more, workers=2, folder=tmp_path, settings=settings) as made:
        kept = [await made.connect_to(pid) for pid in made.pids]
        made.served.stop()
        await made.served.event("shutdown_delayed")
        async with asyncio.timeout(PATIENCE):
            for connection in kept:
                while (answer := await connection.get("/readyz")).status == 200:
                    await asyncio.sleep(0.01)
                assert (answer.status, answer.headers["Connection"]) == (503, "close")
        made.served.stop(signal.SIGUSR2)
        await made.served.event("rolling_restart_done")
        for pid in made.pids:
            await gone(pid)
        made.pids = [event["new"] for event in made.served.events if "new" in event]
        for pid in made.pids:
            with made.only(pid):
                assert (await made.served.get("/readyz")).status == 503
                assert (await made.served.get("/agents/a/quick", key.text)).status == 200
        # Before that it might be the echo of the first.
        await asyncio.sleep(REPEAT_SECONDS)
        made.served.stop()
        assert await made.served.ends() == 0


async def children(pid: int) -> list[int]:
    """Of this process, once there are any."""
    async with asyncio.timeout(PATIENCE):
        while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            await asyncio.sleep(0.01)
    return [int(one) for one in found]


async def test_before_anybody_is_served_no_delay_holds_up_the_end(
    settings: dict[str, str], tmp_path: Path
) -> None:
    arguments = ("serve", "--workers", "2", "--shutdown-delay", "10m")
    free = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    with hanging(tmp_path / "policies" / "a.yaml"):
        process = await start(*arguments, folder=tmp_path, settings={**settings, **free})
        served = Served(process)
        try:
            (worker,) = await children(process.pid)
            served.stop()
            assert await served.ends() == 0
            await gone(worker)
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_second_signal_ends_all_at_once(
    settings: dict[str, str], client: Redis, agent: SlowAgent, tmp_path: Path
) -> None:
    key = await issue(client)
    more = ("--drain", "10m")
    async with crew(*more, workers=2, folder=tmp_path, settings=settings) as made:
        connection = await made.served.connect()
        connection.send("/agents/a/slow", key.text)
        await agent.arrived.wait()
        made.served.stop(signal.SIGINT)
        await made.served.event("draining")
        # Before that it might be the echo of the first.
        await asyncio.sleep(REPEAT_SECONDS)
        made.served.stop(signal.SIGINT)
        assert await made.served.ends() == 1
        # Killed, they are there until somebody else has waited for them.
        for pid in made.pids:
            await gone(pid)


async def test_workers_whose_supervisor_is_killed_finish_what_runs_and_end(
    settings: dict[str, str], client: Redis, agent: SlowAgent, tmp_path: Path
) -> None:
    key = await issue(client)
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        connection = await made.served.connect()
        connection.send("/agents/a/slow", key.text)
        await agent.arrived.wait()
        assert len(list(tmp_path.glob("gateway-workers-*"))) == 1
        made.served.stop(signal.SIGKILL)
        await refuses_connections(made)
        agent.go_on.set()
        assert (await connection.answer()).body == b"finished"
        for pid in made.pids:
            await gone(pid)
        assert list(tmp_path.glob("gateway-workers-*")) == []


async def test_sighup_reloads_the_policies_of_every_worker(
    settings: dict[str, str], tmp_path: Path
) -> None:
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        made.served.stop(signal.SIGHUP)
        loaded = [await made.served.event("policies_loaded") for _ in made.pids]
        assert [event["reason"] for event in loaded] == ["SIGHUP"] * 2
        assert all(map(alive, made.pids))


async def test_workers_that_get_the_signals_of_their_supervisor_too_serve_on(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """As with `systemctl kill`, which sends them to all processes."""
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        for pid in made.pids:
            os.kill(pid, signal.SIGUSR2)
            # Handled after the other one.
            os.kill(pid, signal.SIGHUP)
            await made.served.event("policies_loaded")
        assert all(map(alive, made.pids))


async def test_what_keeps_all_workers_from_serving_is_said_once(
    settings: dict[str, str], tmp_path: Path
) -> None:
    free = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        taken = ("serve", "--workers", "3", "--listen", address)
        code, said = await refused(*taken, folder=tmp_path, settings={**free, **settings})
    assert code == 1
    assert said.count("Address already in use") == 1
    assert f"gateway: Cannot listen on {address}: Address already in use." in said
    assert said.endswith(" See --listen and --admin-listen.\n")
    (tmp_path / "policies" / "b.yaml").write_text("version: 1\nplans:\n  p: {rate: fast}\n")
    bad = ("serve", "--workers", "3")
    code, said = await refused(*bad, folder=tmp_path, settings={**free, **settings})
    assert code == 1
    assert said.count("policies/b.yaml:3:13: ") == 1


async def test_a_rolling_restart_that_cannot_succeed_leaves_the_workers_that_serve(
    settings: dict[str, str], client: Redis, tmp_path: Path
) -> None:
    pepper = pepper_file(settings, tmp_path)
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        pepper.unlink()
        made.served.stop(signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE):
            while line := await made.served.process.stderr.readline():  # type: ignore[union-attr]
                if b"rolling_restart_given_up" in line:
                    break
        assert all(map(alive, made.pids))
        for pid in made.pids:
            assert (await (await made.connect_to(pid)).get("/readyz")).status == 200


async def test_the_embedded_store_is_the_supervisors_and_outlives_every_worker(
    settings: dict[str, str], tmp_path: Path
) -> None:
    del settings["GATEWAY_REDIS_URL"], settings["GATEWAY_PEPPER"]
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        for pid in list(made.pids):
            made.pids.remove(pid)
            os.kill(pid, signal.SIGKILL)
            await made.next_pid()
        for pid in made.pids:
            assert (await (await made.connect_to(pid)).get("/readyz")).status == 200
        made.served.stop()
        assert await made.served.ends() == 0
    assert not (tmp_path / ".gateway" / "store.sock").exists()


async def test_a_credential_that_is_gone_keeps_no_worker_from_standing_in_for_another(
    settings: dict[str, str], client: Redis, store: StoreSettings, tmp_path: Path
) -> None:
    """The policies of a gateway that serves name it still: one process after another would end,
    and none could be replaced."""
    key = await issue(client)
    vault = VaultCommands(store, tmp_path)
    await asyncio.to_thread(vault.set, "crm", "a-value")
    named = "services:\n  crm: {upstream: 'http://127.0.0.1:9', inject: {credential: '%s'}}\n"
    with (tmp_path / "policies" / "a.yaml").open("a") as policies:
        policies.write(named % "${credentials.crm}")
    async with crew(workers=2, folder=tmp_path, settings=settings) as made:
        ended = await asyncio.to_thread(vault, "delete", "crm", "--yes")
        assert ended.code == 0, ended.said
        os.kill(made.pids.pop(0), signal.SIGKILL)
        told = await made.served.event("policy_problem")
        assert told["message"].startswith("there is no credential 'crm': ")
        connection = await made.connect_to(await made.next_pid())
        assert (await connection.get("/agents/a/quick", key.text)).status == 200
    free = {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"}
    code, said = await refused("serve", folder=tmp_path, settings={**settings, **free})
    assert code == 1 and "there is no credential 'crm'" in said
