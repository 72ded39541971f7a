"""Programs that run as children of the gateway: what they are given, and what they may take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# What the files with their user ids are called in a state directory, or begin with.
UIDS = "tool-uids"


class Isolation(StrEnum):
    """What keeps a child from the gateway and from other children: a Unix user of its own, a
    sandbox (as root: both), or nothing."""

    UID = "uid"
    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one child may take. `memory`: bytes that a process of it may write to; `cpu`: seconds
    of work of a process, None: no limit; `processes`: with threads, where the kernel counts them
    for this child alone; `files`: open at once in a process; `file_size`: bytes."""

    memory: int = 2**30
    cpu: int | None = None
    processes: int = 128
    files: int = 1024
    file_size: int = 2**30


@dataclass(frozen=True, slots=True)
class Program:
    """What is run. `owner`: on whose behalf, so that no two owners share anything; `env`: what it
    gets beside PATH, HOME, TMPDIR and LANG; `readable`: places that it may read although they are
    not the system's; `named`: what of `argv` a policy wrote, and no caller; `longest_line`: bytes,
    of its stdout; a longer one cannot be read."""

    argv: tuple[str, ...]
    owner: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: ChildLimits = ChildLimits()
    readable: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    longest_line: int = 2**22


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """How children are kept apart. `isolation` None: the best that can be had. `uids`: the first
    and the last user id that they may get, None: a block that is drawn once. `hidden`: files and
    directories that no child may read. `exposed`: the gateway listens beyond loopback. `most`:
    how many there are at once in one process."""

    isolation: Isolation | None = None
    uids: tuple[int, int] | None = None
    state_dir: Path = Path(".gateway")
    hidden: tuple[Path, ...] = ()
    exposed: bool = False
    most: int = 64
