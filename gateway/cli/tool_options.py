"""Options of `serve` about tools that run as programs."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import Whole, add_options, setting
from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.settings import Settings

# The kernel reserves the largest number for "no user id".
_HIGHEST_UID = 2**32 - 2
_KEY_FILES = ("GATEWAY_MASTER_KEY_FILE", "GATEWAY_PEPPER_FILE")


def tool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options; the command receives `children: ChildSettings`, in which `with_hidden`
    still has to set the paths to hide."""

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
            help="How tools that are programs are isolated: by a user id each (needs root), by "
            "bubblewrap, or not at all (on loopback only). auto: the first that is available.",
        ),
        setting(
            "--tool-uids",
            metavar="FIRST-LAST",
            callback=_read_uids,
            help="The user ids for tools, one for each tool and user. Default: a range drawn once.",
        ),
        setting(
            "--max-tools",
            metavar="N",
            default=64,
            type=Whole(1),
            help="The most tool programs that one worker runs at the same time.",
        ),
    )


def with_hidden(settings: Settings, shared: Path | None) -> Settings:
    """Hide the gateway's own files from child processes. `shared`: the workers' directory."""
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
