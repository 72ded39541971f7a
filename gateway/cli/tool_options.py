"""Options of `serve` about the programs that tools are."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import add_options, setting
from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.settings import Settings

# The kernel's largest is for "none at all".
_HIGHEST_UID = 2**32 - 2
_KEY_FILES = ("GATEWAY_MASTER_KEY_FILE", "GATEWAY_PEPPER_FILE")


def tool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command receives them as `children: ChildSettings`, yet without what it is to hide."""

    @wraps(command)
    def with_children(
        *args: Any,
        tool_isolation: str,
        tool_uids: tuple[int, int] | None,
        max_tools: int,
        **rest: Any,
    ) -> Any:
        isolation = None if tool_isolation == "auto" else Isolation(tool_isolation)
        children = ChildSettings(isolation, tool_uids, most=max_tools)
        return command(*args, children=children, **rest)

    return add_options(
        with_children,
        setting(
            "--tool-isolation",
            type=click.Choice(("auto", *(one.value for one in Isolation))),
            default="auto",
            help="What keeps tools that are programs apart: a user id each (as root), bubblewrap, "
            "or nothing (on loopback only). auto: the first of these that can be had.",
        ),
        setting(
            "--tool-uids",
            metavar="FIRST-LAST",
            callback=_read_uids,
            help="User ids for tools, one for each tool and user. Default: a block drawn once.",
        ),
        setting(
            "--max-tools",
            metavar="N",
            default=64,
            type=click.IntRange(1),
            help="The most programs of tools that one worker runs at a time.",
        ),
    )


def with_hidden(settings: Settings, shared: Path | None) -> Settings:
    """`settings`, whose children see nothing of what is the gateway's. `shared`: a directory of
    its workers."""
    files = [os.environ.get(name) for name in _KEY_FILES]
    if settings.tls is not None:
        files.append(settings.tls.key)
    known: Iterable[Path | None] = (
        settings.store.state_dir,
        settings.policies,
        shared,
        settings.audit.file.path if settings.audit.file is not None else None,
        *(Path(name) for name in files if name),
    )
    hidden = tuple(path.absolute() for path in known if path is not None)
    exposed = not (settings.listen.is_loopback and settings.admin_listen.is_loopback)
    children = replace(
        settings.children, state_dir=settings.store.state_dir, hidden=hidden, exposed=exposed
    )
    return replace(settings, children=children)


def _read_uids(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    if not text:
        return None
    first, last = text.partition("-")[::2]
    digits = text.isascii() and first.isdigit() and last.isdigit()
    if not (digits and 0 < int(first) <= int(last) <= _HIGHEST_UID):
        raise click.BadParameter(f"{text!r} is not a range such as 200000-265535", param=option)
    return int(first), int(last)
