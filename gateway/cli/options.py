"""Options that several commands share, each also readable from the environment."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gateway.domain.errors import UsageError
from gateway.domain.settings import StoreSettings
from gateway.domain.units import duration

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

policies_option = click.option(
    "--policies",
    type=click.Path(path_type=Path),
    default=Path("policies"),
    envvar="GATEWAY_POLICIES",
    show_default=True,
    help="The directory with the policy files.",
)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--redis` and `--state-dir`; the command receives them as `store: StoreSettings`."""

    @wraps(command)
    def with_store(*args: Any, redis: str | None, state_dir: Path | None, **rest: Any) -> Any:
        return command(*args, store=read_store_settings(redis, state_dir), **rest)

    options = (
        click.option(
            "--redis",
            metavar="URL",
            envvar="GATEWAY_REDIS_URL",
            help="Where Redis is. Without it, the embedded store in the state directory.",
        ),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="GATEWAY_STATE_DIR",
            help="Where the embedded store lives. Default: .gateway beside policies/.",
        ),
    )
    for option in options:
        with_store = option(with_store)
    return with_store


def read_store_settings(url: str | None, state_dir: Path | None) -> StoreSettings:
    return StoreSettings(
        url=url or None,
        state_dir=(state_dir or default_state_dir(Path.cwd())).absolute(),
        prefix=os.environ.get("GATEWAY_REDIS_PREFIX", "gw:"),
        timeout=_seconds("GATEWAY_REDIS_TIMEOUT", 1.0),
    )


def default_state_dir(start: Path) -> Path:
    """`.gateway` beside the nearest parent `policies/` or `pyproject.toml`."""
    for folder in (start, *start.parents):
        if (folder / "policies").is_dir() or (folder / "pyproject.toml").is_file():
            return folder / ".gateway"
    return start / ".gateway"


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return duration(text)
    except ValueError as problem:
        raise UsageError(f"{name}: {problem}") from None
