"""Options that several commands share, each also readable from the environment."""

import os
import re
from collections.abc import Callable
from dataclasses import fields, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.domain.errors import UsageError
from gateway.domain.settings import Address, StoreSettings, parse_address
from gateway.domain.units import duration

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_PREFIX = re.compile(r"[A-Za-z0-9:._-]{1,64}", re.ASCII)
_WEB_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class Whole(click.IntRange):
    """A whole number within bounds; whoever gives another one is told the bounds."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            bounds = (
                f"of at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            )
            self.fail(f"{value!r} is not a whole number {bounds}", param, ctx)


def setting(flag: str, *name: str, **more: Any) -> Decorator:
    """An option that the variable GATEWAY_<FLAG> can also set. `name`: its parameter's name, if it
    differs from the flag's."""
    variable = "GATEWAY_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *name, envvar=variable, show_default=True, **more)


def add_options(command: Callable[..., Any], *options: Decorator) -> Callable[..., Any]:
    """Add `options` to `command`; help shows them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def grouped(kind: Any, parameter: str, *options: Decorator) -> Decorator:
    """Add options whose values the command receives as one dataclass `kind`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_group(*args: Any, **given: Any) -> Any:
            group = kind(**{one.name: given.pop(one.name) for one in fields(kind)})
            return command(*args, **{parameter: group}, **given)

        return add_options(with_group, *options)

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
# For commands that only ever print JSON: a script may give --json to every command.
json_already_option = click.option(
    "--json", is_flag=True, expose_value=False, help="No effect: the output is always JSON."
)

policies_option = setting(
    "--policies",
    type=click.Path(path_type=Path),
    default=Path("policies"),
    help="The directory with the policy files.",
)

# Added to commands that do not have an option of this name themselves.
_TAKEN_BY_ALL = (
    click.Option(["--json"], is_flag=True, expose_value=False, hidden=True, help="No effect here."),
    click.Option(["--redis"], expose_value=False, hidden=True, help="No effect here."),
    click.Option(["--policies"], expose_value=False, hidden=True, help="No effect here."),
)


def taking_all(command: click.Command) -> click.Command:
    """Let `command` and its subcommands accept `--json`, `--redis` and `--policies` even where they
    have no effect, so that a script can give them to every command. Help hides them there."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            taking_all(one)
        return command
    known = {name for parameter in command.params for name in parameter.opts}
    command.params += [option for option in _TAKEN_BY_ALL if option.opts[0] not in known]
    return command


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--redis` and `--state-dir`; the command receives `store: StoreSettings`."""

    @wraps(command)
    def with_store(*args: Any, redis: str | None, state_dir: Path | None, **rest: Any) -> Any:
        return command(*args, store=read_store_settings(redis, state_dir), **rest)

    return add_options(
        with_store,
        setting(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="The directory of the embedded store. Default: .gateway beside policies/.",
        ),
        click.option(
            "--redis",
            metavar="URL",
            envvar="GATEWAY_REDIS_URL",
            help="The Redis to use. Default: the embedded store in the state directory.",
        ),
    )


def read_store_settings(url: str | None, state_dir: Path | None) -> StoreSettings:
    prefix = os.environ.get("GATEWAY_REDIS_PREFIX") or "gw:"
    if not _PREFIX.fullmatch(prefix):
        raise UsageError("GATEWAY_REDIS_PREFIX takes at most 64 letters, digits and : . _ or -.")
    timeout = from_environment("GATEWAY_REDIS_TIMEOUT", 1.0, duration)
    if not timeout:
        raise UsageError("GATEWAY_REDIS_TIMEOUT must be longer than 0, such as 500ms.")
    return StoreSettings(
        url=url or None,
        state_dir=(state_dir or default_state_dir(Path.cwd())).absolute(),
        prefix=prefix,
        timeout=timeout,
    )


def read_admin_store(store: StoreSettings) -> StoreSettings | None:
    """Return the same store with the login of GATEWAY_ADMIN_REDIS_URL, or None if it is not set."""
    url = os.environ.get("GATEWAY_ADMIN_REDIS_URL")
    if not url:
        return None
    if store.url is None:
        raise UsageError(
            "GATEWAY_ADMIN_REDIS_URL is another login for the Redis of GATEWAY_REDIS_URL, and the "
            "embedded store has no logins: set both, or neither."
        )
    return replace(store, url=url)


def check_exposure(listening: tuple[Address, ...], store: StoreSettings, *, embedded: bool) -> None:
    """Raise UsageError if a gateway that listens beyond loopback uses an embedded store."""
    beyond = [address for address in listening if not address.is_loopback]
    if beyond and store.url is None and not embedded:
        raise UsageError(
            f"{beyond[0]} can be reached from outside, and an embedded store is for one machine: "
            "give --redis, or --embedded if it is meant."
        )


def read_as(parse: Callable[[str], T]) -> Callable[..., T | None]:
    """A click callback that parses an option; `parse` raises ValueError for a bad value."""

    def read(_: click.Context, option: click.Parameter, text: str | None) -> T | None:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as problem:
            raise click.BadParameter(str(problem), param=option) from None

    return read


read_duration = read_as(duration)
read_address = read_as(parse_address)


def web_url(source: str, url: str) -> str:
    """Return `url`; UsageError names `source` if it is no http or https URL, or one that no path
    can be appended to."""
    if _WEB_URL.fullmatch(url) is None:
        raise UsageError(f"{source} is a URL such as https://gateway.example.com, without a query.")
    return url


def default_state_dir(start: Path) -> Path:
    """Return `.gateway` beside the nearest `policies/` or `pyproject.toml` above `start`."""
    for folder in (start, *start.parents):
        if (folder / "policies").is_dir() or (folder / "pyproject.toml").is_file():
            return folder / ".gateway"
    return start / ".gateway"


def from_environment(name: str, default: T, parse: Callable[[str], T]) -> T:
    """Return the value of an environment variable; `default` if it is unset or empty."""
    text = os.environ.get(name)
    return parsed(name, parse, text) if text else default


def parsed(source: str, parse: Callable[[str], T], text: str) -> T:
    """Parse `text`; UsageError names its `source`, an option or a variable, if it is invalid."""
    try:
        return parse(text)
    except ValueError as problem:
        raise UsageError(f"{source}: {problem}.") from None
