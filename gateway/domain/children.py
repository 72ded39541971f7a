"""Programs that run as child processes of the gateway: what they are given, and their limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# Name, or beginning of the names, of the files in a state directory that hold the children's user
# ids.
UIDS = "tool-uids"


class Isolation(StrEnum):
    """How a child is isolated from the gateway and from other children: by a Unix user of its own,
    by a sandbox (as root: both), or not at all."""

    UID = "uid"
    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Resource limits of one child. `memory`: bytes that each of its processes may write to; `cpu`:
    CPU seconds of each process, None: no limit; `processes`: including threads, where the kernel
    counts them per child; `files`: open files of each process; `file_size`: bytes."""

    memory: int = 2**30
    cpu: int | None = None
    processes: int = 128
    files: int = 1024
    file_size: int = 2**30


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run. `owner`: on whose behalf it runs; owners share nothing. `env`: its
    environment beside PATH, HOME, TMPDIR and LANG. `readable`: paths it may read beside those of
    the system. `named`: the items of `argv` that come from a policy and not from a caller.
    `longest_line`: bytes of the longest line of stdout that can be read."""

    argv: tuple[str, ...]
    owner: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: ChildLimits = ChildLimits()
    readable: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    longest_line: int = 2**22


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """How children are isolated. `isolation` None: the best that is available. `uids`: the first
    and last user id for children; None: a block that is drawn once. `hidden`: files and directories
    that no child may read. `exposed`: the gateway listens beyond loopback. `most`: how many
    children one process may run at once."""

    isolation: Isolation | None = None
    uids: tuple[int, int] | None = None
    state_dir: Path = Path(".gateway")
    hidden: tuple[Path, ...] = ()
    exposed: bool = False
    most: int = 64
