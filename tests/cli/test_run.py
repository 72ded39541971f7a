"""`gateway run`: programs of any kind get credentials, and every rotation of them."""

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.child import REPEAT_SECONDS, Bindings, Child
from gateway.domain.credentials import CredentialId, Version
from gateway.domain.policies.references import parse
from tests.cli import forks
from tests.cli.serving import Process, environment, start
from tests.client.agents import PATIENCE, Pulling
from tests.client.conftest import pulling
from tests.until import until

__all__ = ["pulling"]

# No Python: a shell that says what it has, and what it is told.
SAYS_VARIABLE = 'trap "echo ends; exit 0" TERM; echo "has $TOKEN"; while :; do sleep 0.05; done'
SAYS_FILE = (
    'echo "has $(cat token)"; trap "echo again $(pwd >/dev/null)\\$(cat token)" HUP; '
    "while :; do sleep 0.05; done"
)

STUBBORN = 'trap "" TERM INT; echo "has $(cat token)"; while :; do sleep 0.05; done'


class Running:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.said = ""

    async def says(self, line: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                read = (await self.process.stdout.readline()).decode()
                self.said += read
                if read.rstrip("\n") == line:
                    return
                assert read, f"no {line!r} in {self.said!r}"

    async def ends(self) -> tuple[int, str]:
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        return self.process.returncode or 0, out.decode() + err.decode()


@asynccontextmanager
async def running(
    pulling: Pulling,
    folder: Path,
    *arguments: str,
    stdin: str = os.devnull,
    anew: bool = False,
    **settings: str,
) -> AsyncIterator[Running]:
    """`anew`: by starting Python, so that the arguments are in the list of the system's
    processes."""
    given = {"GATEWAY_URL": pulling.url, "GATEWAY_KEY": pulling.key, **settings}
    words = ("run", "--poll", "1s", *arguments)
    if anew:
        process = await start(*words, folder=folder, settings=given, anew=True)
    else:
        process = await forks.start(words, folder, environment(**given), stdin)
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                await process.communicate()


async def gone(pulling: Pulling, name: str) -> None:
    """The gateway knows no such credential any more."""
    await pulling.vault.delete(name)
    credentials = pulling.world.gateways[0].base.credentials
    await until(lambda: CredentialId(name) not in credentials.known)


async def test_a_rotation_restarts_the_program_with_the_new_value_in_its_variable(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--env", "TOKEN=crm", "--", "sh", "-c", SAYS_VARIABLE)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        await pulling.vault.write("other", 2)
        await pulling.vault.write("crm", 2)
        await run.says("ends")
        await run.says("has crm-2")
        run.process.terminate()
        code, rest = await run.ends()
        assert code == 0 and "ends" in rest and "crm-2" not in rest


async def test_the_key_is_read_from_its_file_again_once_it_was_rotated(
    pulling: Pulling, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(pulling.key)
    arguments = ("--env", "TOKEN=crm", "--", "sh", "-c", SAYS_VARIABLE)
    async with running(pulling, tmp_path, *arguments, GATEWAY_KEY_FILE=str(file)) as run:
        await run.says("has crm-1")
        file.write_text(await pulling.change_key())
        await pulling.vault.write("crm", 2)
        await run.says("has crm-2")


async def test_a_rotation_reaches_a_running_program_by_its_file_and_a_signal(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--file", "crm.value=token", "--on-change", "SIGHUP", "--", "sh", "-c", SAYS_FILE)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        file = tmp_path / "token"
        assert file.stat().st_mode & 0o777 == 0o600
        before = file.stat().st_ino
        await pulling.vault.write("crm", 2)
        await run.says("again crm-2")
        assert file.stat().st_ino != before, "replaced, never half written"
        assert file.read_bytes() == b"crm-2"
        assert list(tmp_path.iterdir()) == [file]
        run.process.terminate()
        assert (await run.ends())[0] == 128 + signal.SIGTERM
    assert not file.exists()


async def test_a_program_may_be_left_alone(pulling: Pulling, tmp_path: Path) -> None:
    arguments = ("--file", "crm=token", "--on-change", "ignore", "--", "sh", "-c", SAYS_VARIABLE)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has ")
        await pulling.vault.write("crm", 2)
        await until(lambda: (tmp_path / "token").read_text() == "crm-2")
        await asyncio.sleep(0.3)
        run.process.terminate()
        assert (await run.ends()) == (0, "ends\n")


async def test_a_program_that_does_not_end_in_time_is_killed_and_started_anew(
    pulling: Pulling, tmp_path: Path
) -> None:
    stubborn = 'trap "" TERM; echo "has $TOKEN"; for i in 1 2 3 4 5 6; do sleep 0.5; done'
    arguments = ("--env", "TOKEN=crm", "--drain", "300ms", "--", "sh", "-c", stubborn)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        await pulling.vault.write("crm", 2)
        await run.says("has crm-2")
        assert (await run.ends())[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_program_that_will_not_end_is_killed_and_its_file_removed(
    number: signal.Signals, pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--file", "crm=token", "--drain", "500ms", "--", "sh", "-c", STUBBORN)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        run.process.send_signal(number)
        code, said = await run.ends()
    assert code == 128 + signal.SIGKILL and "did not end within 0.5 s" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "QUIT", "WINCH"])
async def test_the_program_is_told_of_every_signal_that_images_stop_or_reload_programs_with(
    name: str, pulling: Pulling, tmp_path: Path
) -> None:
    hears = f'trap "echo heard; exit 3" {name}; echo ready; for i in $(seq 99); do sleep 0.1; done'
    async with running(pulling, tmp_path, "--env", "TOKEN=crm", "--", "sh", "-c", hears) as run:
        await run.says("ready")
        run.process.send_signal(signal.Signals[f"SIG{name}"])
        assert await run.ends() == (3, "heard\n")


async def test_a_program_that_goes_on_after_ctrl_c_is_given_the_next_rotation_too(
    pulling: Pulling, tmp_path: Path
) -> None:
    ours, terminal = pty.openpty()
    goes_on = SAYS_VARIABLE.replace("trap", 'trap "" INT; trap', 1)
    arguments = ("--env", "TOKEN=crm", "--", "sh", "-c", goes_on)
    async with running(pulling, tmp_path, *arguments, stdin=os.ttyname(terminal)) as run:
        await run.says("has crm-1")
        run.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        await pulling.vault.write("crm", 2)
        await run.says("has crm-2")
        run.process.terminate()
        assert (await run.ends())[0] == 0
    os.close(ours)
    os.close(terminal)


async def test_whoever_asks_again_does_not_wait_for_a_program_that_will_not_end(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--file", "crm=token", "--drain", "10m", "--", "sh", "-c", STUBBORN)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        run.process.terminate()
        await asyncio.sleep(0.2)
        run.process.terminate()
        await asyncio.sleep(REPEAT_SECONDS)
        assert run.process.returncode is None, "what comes twice at once is one wish"
        run.process.send_signal(signal.SIGINT)
        assert (await run.ends())[0] == 128 + signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
async def test_its_exit_code_is_the_programs(
    script: str, code: int, pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--env", "TOKEN=crm", "--", "sh", "-c", script)
    async with running(pulling, tmp_path, *arguments) as run:
        assert (await run.ends())[0] == code


async def test_the_program_gets_what_it_was_given_and_not_the_key(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--env", "A=crm", "--env", "B=openai_key.value", "--", "env")
    async with running(pulling, tmp_path, *arguments, KEPT="yes") as run:
        _, said = await run.ends()
    lines = said.splitlines()
    assert {"A=crm-1", "B=openai_key-1", "KEPT=yes"} <= set(lines)
    assert pulling.key not in said


@pytest.mark.parametrize(
    "name",
    [
        *("GATEWAY_KEY", "GATEWAY_MASTER_KEY", "GATEWAY_MASTER_KEY_FILE"),
        *("GATEWAY_PEPPER", "GATEWAY_PEPPER_FILE"),
        *("GATEWAY_REDIS_URL", "GATEWAY_ADMIN_REDIS_URL", "GATEWAY_VAULT_REDIS_URL"),
    ],
)
async def test_the_program_gets_nothing_that_opens_the_vault_unless_it_is_chosen(
    name: str, pulling: Pulling, tmp_path: Path
) -> None:
    # As in the shell of an operator, where all is exported for the gateway itself.
    exported = {"GATEWAY_KEY": pulling.key} | {name: pulling.key if name == "GATEWAY_KEY" else "x"}
    shown = ("--", "sh", "-c", f'echo "[${name}]"')
    async with running(pulling, tmp_path, "--env", "A=crm", *shown, **exported) as run:
        assert await run.ends() == (0, "[]\n")
    async with running(pulling, tmp_path, "--env", f"{name}=crm", *shown, **exported) as run:
        assert await run.ends() == (0, "[crm-1]\n")


async def test_what_follows_the_dashes_belongs_to_the_program(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--json", "--env", "A=crm", "--", "echo", "--json", "--redis", "--policies")
    async with running(pulling, tmp_path, *arguments) as run:
        assert await run.ends() == (0, "--json --redis --policies\n")


async def test_no_value_is_among_the_arguments_of_a_process_or_in_what_is_said(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--env", "TOKEN=crm", "--file", "crm=token", "--", "sleep", "60")
    async with running(pulling, tmp_path, *arguments, anew=True) as run:
        await until(lambda: (tmp_path / "token").exists())
        await asyncio.sleep(0.3)
        seen = b"".join(
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        )
        await pulling.vault.write("crm", 2)
        await until(lambda: (tmp_path / "token").read_text() == "crm-2")
        run.process.terminate()
        _, said = await run.ends()
    assert b"TOKEN=crm" in seen and b"crm-1" not in seen
    assert "crm-1" not in said and "crm-2" not in said


async def test_a_gateway_that_is_away_is_waited_for_and_then_given_up(
    pulling: Pulling, tmp_path: Path
) -> None:
    nowhere = {"GATEWAY_URL": "http://127.0.0.1:1"}
    arguments = ("--env", "A=crm", "--wait", "1s", "--", "echo", "ran")
    async with running(pulling, tmp_path, *arguments, **nowhere) as run:
        code, said = await run.ends()
    assert code == 1 and said.startswith("gateway: ") and said.count("\n") == 1
    assert "connect" in said.lower() and "Error" not in said
    assert "ran" not in said


async def test_a_credential_that_comes_in_time_is_waited_for(
    pulling: Pulling, tmp_path: Path
) -> None:
    await gone(pulling, "crm")
    arguments = ("--env", "A=crm", "--wait", "30s", "--", "sh", "-c", 'echo "has $A"')
    async with running(pulling, tmp_path, *arguments) as run:
        await asyncio.sleep(1.0)
        assert run.process.returncode is None
        await pulling.vault.write("crm", 2)
        await run.says("has crm-2")


async def test_it_says_what_it_waits_for_and_for_how_long(pulling: Pulling, tmp_path: Path) -> None:
    await gone(pulling, "openai_key")

    async def says(reason: str, **settings: str) -> None:
        arguments = ("--env", "A=openai_key", "--wait", "5s", "--", "echo", "ran")
        async with running(pulling, tmp_path, *arguments, **settings) as run:
            code, said = await run.ends()
        assert code == 1 and said.startswith(f"gateway: Waiting up to 5 s. {reason}")
        assert said.count("\n") == 2 and "ran" not in said

    await asyncio.gather(
        says("There is no credential 'openai_key'."),
        says("The credentials were not fetched yet: ", GATEWAY_URL="http://127.0.0.1:1"),
    )


async def test_without_a_wait_the_gateway_is_asked_once(pulling: Pulling, tmp_path: Path) -> None:
    arguments = ("--env", "A=crm", "--wait", "0", "--", "sh", "-c", 'echo "has $A"')
    async with running(pulling, tmp_path, *arguments) as run:
        assert await run.ends() == (0, "has crm-1\n")
    async with running(pulling, tmp_path, *arguments, GATEWAY_URL="http://127.0.0.1:1") as run:
        code, said = await run.ends()
    assert code == 1 and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "settings", "code"),
    [
        (("--env", "A=other", "--", "echo", "ran"), {}, 1),
        (("--env", "A=crm.nope", "--", "echo", "ran"), {}, 1),
        (("--env", "A=crm", "--", "/no/such/program"), {}, 1),
        (("--file", "crm=no/such/folder", "--", "echo", "ran"), {}, 1),
        (("--env", "A=crm", "--", "echo", "ran"), {"GATEWAY_KEY": ""}, 2),
        (("--env", "A=crm", "--", "echo", "ran"), {"GATEWAY_KEY_FILE": "missing"}, 2),
        (("--env", "A=crm", "--", "echo", "ran"), {"GATEWAY_URL": "127.0.0.1:8080"}, 2),
        (("--", "echo", "ran"), {}, 2),
        (("--env", "crm", "--", "echo", "ran"), {}, 2),
        (("--env", "A=Bad", "--", "echo", "ran"), {}, 2),
        (("--file", "crm", "--", "echo", "ran"), {}, 2),
        (("--env", "A=crm"), {}, 2),
    ],
)
async def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: tuple[str, ...],
    settings: dict[str, str],
    code: int,
    pulling: Pulling,
    tmp_path: Path,
) -> None:
    async with running(pulling, tmp_path, "--wait", "1s", *arguments, **settings) as run:
        ended, said = await run.ends()
    assert ended == code and said.count("\n") == 1 and said.startswith("gateway: "), said
    assert "ran" not in said


async def test_a_file_that_was_never_written_stays_as_it_is(
    pulling: Pulling, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("somebody's")
    arguments = ("--wait", "1s", "--replace", "--file", "other=token", "--", "echo", "ran")
    async with running(pulling, tmp_path, *arguments) as run:
        assert (await run.ends())[0] == 1
    assert file.read_text() == "somebody's"
    arguments = ("--replace", "--file", "crm.nope=token", "--", "echo", "ran")
    async with running(pulling, tmp_path, *arguments) as run:
        assert (await run.ends())[0] == 1
    assert file.read_text() == "somebody's"


async def test_a_file_that_is_there_already_is_neither_written_over_nor_removed(
    pulling: Pulling, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("somebody's")
    (tmp_path / "link").symlink_to("nowhere")
    for path in ("token", "link"):
        async with running(pulling, tmp_path, "--file", f"crm={path}", "--", "echo", "ran") as run:
            code, said = await run.ends()
        assert (
            code == 1 and said.startswith(f"gateway: {path} exists already") and "ran" not in said
        )
        assert said.count("\n") == 1 and "--replace" in said
    assert file.read_text() == "somebody's" and (tmp_path / "link").is_symlink()


async def test_a_file_that_came_while_the_credential_was_waited_for_is_spared_too(
    pulling: Pulling, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    await gone(pulling, "openai_key")
    arguments = ("--file", "openai_key=token", "--", "echo", "ran")
    async with running(pulling, tmp_path, *arguments) as run:
        await asyncio.sleep(2.0)
        file.write_text("somebody's")
        await pulling.vault.write("openai_key", 2)
        code, said = await run.ends()
    assert code == 1 and "exists already" in said and "ran" not in said
    assert file.read_text() == "somebody's"


async def test_a_file_that_a_killed_run_left_is_replaced_where_that_is_said(
    pulling: Pulling, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("left")
    async with running(
        pulling, tmp_path, "--replace", "--file", "crm=token", "--", "cat", "token"
    ) as run:
        assert await run.ends() == (0, "crm-1")
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_written_any_more_leaves_the_program_with_what_it_has(
    pulling: Pulling, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    arguments = ("--file", "crm=place/token", "--on-change", "ignore", "--")
    async with running(pulling, tmp_path, *arguments, "sh", "-c", SAYS_VARIABLE) as run:
        await run.says("has ")
        place.rename(tmp_path / "elsewhere")
        await pulling.vault.write("crm", 2)
        assert run.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while b"cannot be written" not in await run.process.stderr.readline():
                pass
        (tmp_path / "elsewhere").rename(place)
        await until(lambda: (place / "token").read_text() == "crm-2")
        run.process.terminate()
        assert (await run.ends())[0] == 0


async def test_a_signal_that_comes_while_the_program_starts_reaches_it(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.create_subprocess_exec

    async def slowly(*command: str, **more: Any) -> asyncio.subprocess.Process:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        return await started(*command, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
    (reference,) = parse("${credentials.crm}").references
    child = Child(("sleep", "60"), Bindings({"TOKEN": reference}, {}), "restart", 5.0, print)
    async with pulling.credentials() as credentials, asyncio.timeout(PATIENCE):
        assert await child.run(credentials) == 128 + signal.SIGTERM


async def test_a_value_that_fits_no_variable_stops_no_program(
    pulling: Pulling, tmp_path: Path
) -> None:
    arguments = ("--env", "TOKEN=crm", "--", "sh", "-c", SAYS_VARIABLE)
    async with running(pulling, tmp_path, *arguments) as run:
        await run.says("has crm-1")
        nul = Version(2, {"value": "a\0b"})
        await pulling.vault.write("crm", 2, type="custom", current=nul)
        assert run.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while b"with a NUL in it" not in await run.process.stderr.readline():
                pass
        await pulling.vault.write("crm", 3, type="custom")
        await run.says("ends")
        await run.says("has crm-3")
