"""Handing out a key: once on stdout, or into a file that only its owner can read."""

import asyncio
import json
import os
import shlex
from pathlib import Path

import click

from gateway.cli.gateway_url import local_gateway_url
from gateway.cli.keys.options import named_store
from gateway.cli.output import moment, note, print_json, printable
from gateway.domain.errors import OperationError
from gateway.domain.keys.record import CANARY
from gateway.domain.keys.scopes import Scope, parse_all
from gateway.domain.keys.views import KeyView, State, view
from gateway.domain.policies.routes import ONE
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.services.keys.issue import Issued
from gateway.services.keys.lifecycle import hindrance

OWNER_ONLY = 0o600


def print_issued(issued: Issued, *, as_json: bool) -> None:
    """Print the key on stdout; OperationError if stdout is full or closed."""
    try:
        if as_json:
            print_json(issued.for_owner())
        else:
            click.echo(issued.key.text)
    except OSError as problem:
        raise OperationError(
            f"The new secret of {issued.key.id} could not be printed ({problem.strerror}) and is "
            f"lost: 'gateway keys rotate {issued.key.id}' makes another."
        ) from None


def explain_created(issued: Issued, store: StoreSettings, policies: Policies | None) -> None:
    """Say on stderr what to do with a new key, without repeating it."""
    # Name the store: a key made in another store than the gateway's is refused at its first use.
    where = named_store(store)
    note(f"This is key {issued.key.id}, shown once: keep it now, {where} holds only its hash.")
    if issued.record.status == CANARY:
        note(
            "Put it where nobody should look. 'gateway audit tail' shows its use, which is refused."
        )
        return
    scopes = issued.record.scopes.split()
    agents = [s.split(":")[0] for s in scopes if s.startswith(("agents/", "*"))]
    if not agents:
        return
    agent = "agents/NAME" if "*" in agents[0] else agents[0]
    method, path = _open_to(issued, agent.removeprefix("agents/"), policies)
    url = os.environ.get("GATEWAY_URL") or asyncio.run(local_gateway_url(store))
    note("Put it into a shell variable with 'read -rs KEY', then call with:")
    # Quoted, because it is pasted into a shell.
    place = shlex.quote(f"{url.rstrip('/')}/{agent}{path}")
    click.echo(printable(f'  curl {method}-H "Authorization: Bearer $KEY" {place}'), err=True)


def _open_to(issued: Issued, name: str, policies: Policies | None) -> tuple[str, str]:
    """Return curl's option for the method, and the path, of the agent's first route that this key
    may call."""
    agent = policies.agents.get(name) if policies else None
    grants = parse_all(issued.record.scopes)
    for route in (agent and agent.routes) or ():
        is_plain = not route.public and ONE not in route.raw
        if is_plain and grants.allow(Scope("agents", name, route.action)):
            methods = sorted(route.methods)
            is_get = not methods or "GET" in methods
            return "" if is_get else f"-X {methods[0]} ", route.raw.decode()
    return "", "/"


def explain_rotated(issued: Issued, now: int) -> str:
    """Say what happened to the old secret, and what still keeps the new one from working."""
    key = view(issued.record, now)
    return f"{_of_old_secret(issued, key)} {hindrance(key)}".rstrip()


def warn_of_rotated(issued: Issued, grace: float, now: int) -> None:
    """Say on stderr what a script has to know: no grace although it asked for one, no use yet."""
    key = view(issued.record, now)
    refused_grace = grace > 0 and key.grace_until is None and not issued.repeated
    warning = f"{_of_old_secret(issued, key) if refused_grace else ''} {hindrance(key)}".strip()
    if warning:
        note(warning)


def _of_old_secret(issued: Issued, key: KeyView) -> str:
    if issued.repeated:
        return "Only the secret that was lost is replaced."
    if key.grace_until is not None:
        return f"The old secret works until {moment(key.grace_until)}."
    if key.state is State.CANARY:
        return "Put the new secret in place of the old one, whose use is no longer reported."
    if issued.revived or key.state in (State.DISABLED, State.EXPIRED):
        return "The key was not active, so its old secret has no grace."
    return "The old secret stopped working at once; --grace 24h would give callers time."


def new_file(path: Path, otherwise: str = "") -> int:
    """Create a file that only its owner can read, and return its descriptor for writing.

    OperationError if it exists or cannot be made; `otherwise` is added to the latter.
    """
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY)
    except FileExistsError:
        raise OperationError(f"{path} exists and is not overwritten: name a new file.") from None
    except OSError as problem:
        sentence = f"{path} cannot be made: {problem.strerror}. {otherwise}"
        raise OperationError(sentence.rstrip()) from None


class KeyFile:
    """A new file of keys, mode 0600, one JSON object a line. Each key is on the disk before the
    next one is made. A file without any key is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def __enter__(self) -> "KeyFile":
        self._file = new_file(self._path, "Nothing was rotated.")
        return self

    def add(self, issued: Issued) -> None:
        line = json.dumps(issued.for_owner()).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as problem:
            raise OperationError(
                f"The new secret of {issued.key.id} could not be written to {self._path} "
                f"({problem.strerror}) and is lost: rotate that key again."
            ) from None
        self._count += 1

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        if not self._count:
            self._path.unlink(missing_ok=True)
