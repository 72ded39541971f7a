"""Reference pages of what an operator types: the settings and the commands."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.environment import VARIABLES
from gateway.cli.main import root
from gateway.cli.serve import serve
from tests.docs.markdown import code, table

# Whatever the terminal is that this is made in.
WIDTH = 100
SETTINGS = """\
A flag of `gateway serve` wins over its environment variable. A variable that is unknown is ignored.

"""
ENVIRONMENT = """
## In the environment alone

"""
COMMANDS = """\
`gateway COMMAND --help` says the same. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
With `--json` a command prints JSON on stdout, and everything else goes to stderr. Every command
takes `--json`, `--redis` and `--policies`; help leaves out which of them have no effect there.

Tables fit the terminal, and are as wide as they need be where stdout is none; `NO_COLOR` leaves
them and the log plain. The Tab key completes commands and options after
`eval "$(_GATEWAY_COMPLETE=bash_source gateway)"` (`zsh_source` in zsh), and in fish after
`_GATEWAY_COMPLETE=fish_source gateway | source`.
"""


def settings() -> str:
    rows = [
        (", ".join(map(code, option.opts)), code(variable), _default(option), option.help or "")
        for option in _options(serve)
        if (variable := option.envvar)
    ]
    flags = table(("flag", "variable", "default", "meaning"), rows)
    only = [(code(one.name), one.default, one.meaning) for one in VARIABLES]
    return SETTINGS + flags + ENVIRONMENT + table(("variable", "default", "meaning"), only)


def commands() -> str:
    return COMMANDS + "".join(f"\n## {path}\n\n{_help(path)}" for path, _ in leaves(root))


def leaves(group: click.Group, path: str = "gateway") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _help(path: str) -> str:
    words = path.split()
    width: Any = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(root, info_name=words[0], **width, **root.context_settings)
    command: click.Command = root
    for word in words[1:]:
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command, context = found, click.Context(found, context, word, **width)
    return f"```text\n{command.get_help(context)}\n```\n"


def _options(command: click.Command) -> Sequence[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option)]


def _default(option: click.Option) -> str:
    if option.is_flag:
        return "off"
    return "" if not isinstance(option.default, str | int | Path) else code(str(option.default))
