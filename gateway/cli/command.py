"""How commands and groups of commands are declared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.domain.keys.key import masked


class Command(click.Command):
    """A command that refuses a second value for an option that holds one, and a key for a path.

    click silently takes the last one: `keys revoke --consumer a --consumer b` would leave the keys
    of `a` alive. And a key that is pasted by mistake would be in logs, or the name of a new file.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for option in dict.fromkeys(given):
            if _holds_one_value(option) and given.count(option) > 1:
                ctx.fail(f"{option.opts[0]} is given more than once, and holds one value.")
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            path = ctx.params.get(parameter.name or "")
            if isinstance(path, Path) and masked(str(path)) != str(path):
                hint = parameter.get_error_hint(ctx)
                ctx.fail(f"There is a whole key in {hint}, where a path belongs.")
        return rest


def command(
    *examples: str, name: str | None = None, notes: str = "", **settings: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command whose help ends with `examples`, then with `notes`."""
    epilog = "\n\n".join(filter(None, (_example_lines(*examples), notes)))
    return click.command(name, cls=Command, epilog=epilog, **settings)


def group(name: str, about: str, example: str, *commands: click.Command) -> click.Group:
    return click.Group(name, commands, help=about, epilog=_example_lines(example))


def _example_lines(*examples: str) -> str:
    # \b keeps click from joining the lines.
    title = "Example:" if len(examples) == 1 else "Examples:"
    return "\n  ".join((f"\b\n{title}", *examples))


def _holds_one_value(option: click.Parameter) -> bool:
    # A flag that is given twice means the same. An option with a variable may also be given twice,
    # by an alias and by hand: the last one wins, as an option wins over its variable.
    if not isinstance(option, click.Option) or option.envvar or option.hidden:
        return False
    return not (option.multiple or option.is_flag)
