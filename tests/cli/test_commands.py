"""Every command: help with an example, exit codes, errors in one sentence."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from gateway import __version__
from gateway.cli.main import root
from gateway.crypto.draw import draw
from gateway.domain.keys.key import ID_LENGTH, compose
from tests.cli import forks
from tests.cli.commands import COMMAND, Ended


def every_command(
    group: click.Group, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{context.info_name} {name}", command
        if isinstance(command, click.Group):
            inner = click.Context(command, parent=context, info_name=f"{context.info_name} {name}")
            yield from every_command(command, inner)


COMMANDS = dict(every_command(root, click.Context(root, info_name="gateway")))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    told = command.get_help(click.Context(command, info_name=name, **root.context_settings))
    example = re.split(r"Examples?:\n", told)[1]
    assert re.search(rf"(?m)^  .*\b{name}\b", example), told
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns_and_cuts_no_sentence(name: str) -> None:
    context = click.Context(COMMANDS[name], info_name=name, terminal_width=80)
    told = COMMANDS[name].get_help(context)
    assert [line for line in told.splitlines() if len(line) > 80] == []
    summaries = told.partition("\nCommands:\n")[2]
    assert [line for line in summaries.splitlines() if line.endswith("...")] == []


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    code, out, err = forks.run(arguments, Path.cwd(), {**os.environ, **(env or {})}, b"")
    return Ended(code, out.decode(), err.decode())


def test_help_lists_every_command_and_imports_none() -> None:
    script = (
        "import sys; from gateway.cli.main import COMMANDS, root; "
        "root.main(['--help'], standalone_mode=False); "
        "print([m for m in sys.modules if m.startswith('gateway.services') or m == 'redis'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    for name in root.list_commands(click.Context(root)):
        assert re.search(rf"(?m)^  {name} +[A-Z][^.]+\.$", told.stdout), name
    assert told.stdout.endswith("\n[]\n")


def test_completion_offers_commands_and_options() -> None:
    words = {"COMP_WORDS": "gateway ", "COMP_CWORD": "1", "_GATEWAY_COMPLETE": "bash_complete"}
    offered = [run(env=words | more).out for more in ({}, {"COMP_WORDS": "gateway --v"})]
    assert "plain,keys\n" in offered[0] and offered[1] == "plain,--version\n"


def test_commands_do_not_wait_for_what_only_serving_needs() -> None:
    script = (
        "import sys; import gateway.cli.serve, gateway.cli.keys.group;"
        "print([m for m in ('aiohttp', 'pydantic', 'uvloop') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "[]\n"


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_is_the_packages(asked: str) -> None:
    told = run(asked)
    assert (told.code, told.out, told.said) == (0, f"{__version__}\n", "")


def test_version_is_told_to_programs_too() -> None:
    assert run("version", "--json").json == {"version": __version__}


LEAVES = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]
FOR_ALL = ("--json", "--redis", "redis://127.0.0.1:1", "--policies", "nowhere")


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_takes_json_redis_and_policies(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is given is read before the help is printed: an unknown option would be refused.
    arguments = [*name.split()[1:], *FOR_ALL, "--help"]
    root.main(arguments, prog_name="gateway", standalone_mode=False)
    assert f"Usage: {name} " in capsys.readouterr().out


def test_help_leaves_out_what_has_no_effect_on_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root.main(["credentials", "list", "--help"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "--redis" in told and "--policies" not in told


def test_what_has_no_effect_is_not_looked_at() -> None:
    told = run("version", *FOR_ALL[1:])
    assert (told.code, told.out, told.said) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serv"], "Did you mean 'serve'?"),
        (["frobnicate"], "See 'gateway --help'."),
        (["serve", "--lisen", "x"], "--listen"),
        (["audit", "tail", "--since", "2h"], "--user'?)\n"),
        (["serve", "left over"], "unexpected extra argument"),
        (["credentials", "set", "crm"], "Choose from: api_key, bearer, "),
        (["run", "--env", "A=xx", "--env", "A=yy", "--", "sh"], "--env names A twice"),
        (["run", "--file", "xx=a", "--file", "yy=./a", "--", "sh"], "--file names ./a twice"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_sentence(arguments: list[str], says: str) -> None:
    refused = run(*arguments)
    assert refused.code == 2
    assert refused.is_one_sentence()
    assert says in refused.said


SINGLES = [
    (name, option.opts[0])
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
    and not (option.multiple or option.is_flag or option.envvar or option.hidden)
]


@pytest.mark.parametrize(("name", "option"), SINGLES)
def test_an_option_that_holds_one_value_is_given_no_two(name: str, option: str) -> None:
    arguments = [*name.split()[1:], option, "1", option, "2"]
    with pytest.raises(click.UsageError, match=f"{option} is given more than once"):
        root.main(arguments, prog_name="gateway", standalone_mode=False)


def test_a_flag_may_be_said_twice_and_of_a_setting_the_last_one_holds(tmp_path: Path) -> None:
    """An alias may say it, and whoever uses the alias another."""
    assert run("version", "--json", "--json").code == 0
    (tmp_path / "a.yaml").write_text("version: 1\n")
    shown = run("policy", "show", "--policies", "none", "--policies", str(tmp_path))
    assert shown.code == 0, shown.said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("version",), ("--help",), ("policy", "schema")])
def test_what_cannot_be_written_is_a_failure_in_one_sentence(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, "gateway: No space left on device.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_wrong_usage_is_exit_2_also_where_nobody_can_be_told() -> None:
    with Path("/dev/full").open("wb") as full:
        assert subprocess.run([*COMMAND, "frobnicate"], stderr=full, timeout=60).returncode == 2


@pytest.mark.parametrize("arguments", [("version",), ("policy", "schema")])
def test_a_reader_that_has_enough_is_no_reason_to_complain(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "says"),
    [
        (">&-", ("version",), 1, "gateway: Bad file descriptor.\n"),
        (">&-", ("--help",), 1, "gateway: Bad file descriptor.\n"),
        (
            "<&-",
            ("keys", "delete", "4xT9mQ2LrB7c"),
            2,
            "gateway: There is no terminal to confirm this on",
        ),
        ("<&-", ("keys", "import"), 1, "gateway: What came on stdin is not an export of keys"),
        ("2>&-", ("frobnicate",), 2, ""),
        ("<&- >&- 2>&-", ("version",), 1, ""),
    ],
)
def test_standard_streams_that_are_closed_are_a_failure_and_no_bug(
    closed: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == (1 if says else 0)


def test_whoever_stops_a_command_while_it_loads_sees_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [*COMMAND, "version"],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (130, "")


PATHS = [
    (name, parameter)
    for name, command in COMMANDS.items()
    for parameter in command.params
    # What has to exist is refused before that, with the key masked as in every error.
    if isinstance(parameter.type, click.Path) and not parameter.type.exists
]


@pytest.mark.parametrize(("name", "parameter"), PATHS)
def test_a_key_that_is_pasted_in_place_of_a_path_is_not_repeated(
    name: str, parameter: click.Parameter
) -> None:
    """The name of a file or directory would stand in logs, and be there for all to list."""
    key = compose("live", draw(12), draw(32)).text
    others = [one for one in COMMANDS[name].params if one.required and one is not parameter]
    values = {one: next(iter(getattr(one.type, "choices", ["x" * ID_LENGTH]))) for one in others}
    words: list[str] = []
    for one, value in {**values, parameter: f"./{key}"}.items():
        words += [value] if isinstance(one, click.Argument) else [one.opts[0], value]
    with pytest.raises(click.UsageError, match="There is a whole key in") as refused:
        COMMANDS[name].make_context(name, words)
    assert key not in refused.value.format_message()
