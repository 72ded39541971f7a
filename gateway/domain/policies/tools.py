"""Tool servers that speak MCP: how each is reached, and what is put into calls of its tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.domain.children import ChildLimits

# A shorter value is in every text: it could not be taken out of an answer without breaking it.
SHORTEST_INJECTED = 8


class Transport(StrEnum):
    """`http`: MCP over streamable HTTP; `stdio`: an MCP server as a child process; `command`: the
    gateway is the MCP server, and each tool is a command."""

    HTTP = "http"
    STDIO = "stdio"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class CommandTool:
    """One tool of a `command` server. `input`: the JSON Schema of its arguments. `argv`: the
    command line, in which `{name}` stands for an argument."""

    name: str
    description: str
    input: Mapping[str, Any]
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Own code around each call of a tool, each as `module:function`, in the order they run.
    `seconds`: the longest that each may take."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class ProgramTerms:
    """On which terms programs run. `start` and `idle`: seconds that a `stdio` server may take until
    it serves, and for which it is kept without a call; `output`: bytes of one answer; `readable`:
    places that it may read although they are not the system's."""

    start: float = 30.0
    idle: float = 300.0
    output: int = 2**20
    limits: ChildLimits = field(default_factory=ChildLimits)
    readable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Toolset:
    """How a server of tools serves them. `command`: the command line of a `stdio` server; `tools`:
    those of a `command` server; `program`: on which terms either runs. `origins`: pages that may
    call it from a browser, each as browsers spell it."""

    transport: Transport
    command: tuple[str, ...] = ()
    tools: tuple[CommandTool, ...] = ()
    hooks: Hooks = Hooks()
    origins: frozenset[bytes] = frozenset()
    program: ProgramTerms = ProgramTerms()


def program_owner(server: str, user: str, key_id: str) -> str:
    """For whom a program of `server` runs: a user, or a key that acts for nobody."""
    return f"{server}\0{'user' if user else 'key'}\0{user or key_id}"
