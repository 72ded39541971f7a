"""The class of every command."""

import click


class Command(click.Command):
    """Refuses an option that holds one value where it is given two, of which click takes the last
    in silence: `keys revoke --consumer a --consumer b` would leave those of `a` alive."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for option in dict.fromkeys(given):
            if _is_single(option) and given.count(option) > 1:
                ctx.fail(f"{option.opts[0]} is given more than once, and holds one value.")
        return super().parse_args(ctx, args)


class Group(click.Group):
    command_class = Command


def _is_single(option: click.Parameter) -> bool:
    # A flag that is said twice says the same, and of a setting the last one holds, as it holds over
    # its variable: an alias may say `--redis`, and a line by hand another.
    if not isinstance(option, click.Option) or option.envvar or option.hidden:
        return False
    return not (option.multiple or option.is_flag)
