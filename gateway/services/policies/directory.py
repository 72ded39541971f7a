"""The policies directory: which files it has, and what they say at one moment."""

import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.crypto.tls import client_context
from gateway.domain.errors import OperationError
from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.snapshot import ClientTls, Policies
from gateway.protocol.policy.read import Loaded, read_policies
from gateway.protocol.policy.tree import MAX_BYTES
from gateway.services.tools.hooks import unusable_hooks
from gateway.services.tools.usable_commands import unusable_commands

SUFFIX = ".yaml"
MAX_FILES = 1000
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Stamp:
    """Changes if a file is replaced or modified. `target`: its path with links followed."""

    target: str
    device: int
    inode: int
    size: int
    modified_ns: int


# The stamp of each policy file; None if it cannot be read, such as a link to nothing.
Listing = dict[str, Stamp | None]
# A listing that no directory has, because no file has an empty name.
NEVER_LISTED: Listing = {"": None}


def list_directory(directory: Path) -> Listing:
    """Return the policy files as they are now; empty if there is no such directory."""
    try:
        names = sorted(path.name for path in directory.iterdir() if _is_policy(path.name))
    except OSError:
        return {}
    return {name: _stamp(directory / name) for name in names[: MAX_FILES + 1]}


def read_directory(directory: Path) -> Loaded:
    """Read all files as they were at one moment: a reload never mixes old files with new ones."""
    for _ in range(ATTEMPTS):
        loaded = read_listing(directory, list_directory(directory))
        if loaded is not None:
            return loaded
    place = Place(str(directory), 1, 1)
    return Loaded(None, (Problem(place, "the files change faster than they can be read"),))


def read_listing(directory: Path, listing: Listing) -> Loaded | None:
    """Return what the files of `listing` say; None if the directory holds other files by now."""
    if list_directory(directory) != listing:
        return None
    loaded = _read(directory, listing)
    return loaded if list_directory(directory) == listing else None


def _read(directory: Path, listing: Listing) -> Loaded:
    whole = Place(str(directory), 1, 1)
    if not directory.is_dir():
        what = "there is no such directory: see --policies"
        if directory.exists():
            what = "this is no directory: name the one that it is in"
        return Loaded(None, (Problem(whole, what),))
    if not listing:
        return _empty(directory, whole)
    if len(listing) > MAX_FILES:
        return Loaded(None, (Problem(whole, f"there are more than {MAX_FILES} files in it"),))
    contents: dict[str, bytes] = {}
    unread = []
    for name in listing:
        path = directory / name
        try:
            contents[str(path)] = _content(path)
        except OSError as problem:
            reason = problem.strerror or "it is no file"
            unread.append(Problem(Place(str(path), 1, 1), f"this cannot be read: {reason}"))
    loaded = read_contents(contents)
    problems = tuple(sorted({*unread, *loaded.problems}))
    policies = None if problems else loaded.policies
    warnings = loaded.warnings + _misnamed(directory)
    passing = loaded.passing or bool(unread)
    return replace(loaded, policies=policies, problems=problems, warnings=warnings, passing=passing)


def _empty(directory: Path, whole: Place) -> Loaded:
    try:
        os.scandir(directory).close()
    except OSError as problem:
        what = f"this cannot be read: {problem.strerror}"
        return Loaded(None, (Problem(whole, what),), passing=True)
    return Loaded(None, (Problem(whole, f"there is no *{SUFFIX} file in it"),))


def read_contents(contents: Mapping[str, bytes]) -> Loaded:
    """Return what the files, by whole path, say together, and whether what they name is usable."""
    try:
        return _checked(contents)
    except Exception as bug:  # noqa: BLE001 - whatever it is, policies in force stay, and are watched
        at = traceback.extract_tb(bug.__traceback__)[-1]
        what = (
            f"the gateway fails at these files ({type(bug).__name__} at {at.filename}:{at.lineno})"
        )
        place = Place(os.path.commonpath(contents or ["."]), 1, 1)
        return Loaded(None, (Problem(place, f"{what}: report it, and undo the last change"),))


def _checked(contents: Mapping[str, bytes]) -> Loaded:
    loaded = read_policies(contents)
    found = loaded.readable or Policies()
    files = _unusable_files(found)
    unusable = (*files, *unusable_hooks(found), *unusable_commands(found))
    problems = tuple(sorted({*loaded.problems, *unusable}))
    policies = None if problems else loaded.policies
    return replace(
        loaded, policies=policies, problems=problems, readable=found, passing=bool(files)
    )


def _unusable_files(policies: Policies) -> tuple[Problem, ...]:
    """Return problems with certificates and keys that no connection could be made with."""
    found = []
    for agent in policies.everyone:
        for upstream in agent.upstreams:
            if upstream.tls == ClientTls():
                continue
            try:
                client_context(upstream.tls)
            except OperationError as problem:
                found.append(policies.problem(agent, str(problem)))
    return tuple(found)


def _content(path: Path) -> bytes:
    if not path.is_file():
        # Opening a pipe would wait for a writer.
        path.stat()
        raise OSError
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _misnamed(directory: Path) -> tuple[Problem, ...]:
    found = sorted(p for p in directory.glob("*.yml") if _is_policy(f"{p.stem}{SUFFIX}"))
    message = f"this file is not read: its name has to end in {SUFFIX}"
    return tuple(Problem(Place(str(path), 1, 1), message) for path in found)


def _is_policy(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
        target = os.path.realpath(path)
    except OSError:
        return None
    return Stamp(target, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
