"""Tool servers that speak MCP: how each is reached, and on which terms programs run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.domain.children import ChildLimits

# Shorter values occur in any text, so they could not be removed from an answer without breaking it.
SHORTEST_INJECTED = 8


class Transport(StrEnum):
    """`http`: MCP over streamable HTTP; `stdio`: an MCP server that runs as a child process;
    `command`: the gateway itself is the MCP server, and each tool is a command."""

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
    """The operator's own code around each tool call, each as `module:function`, in the order they
    run. `seconds`: the longest that each may take."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class ProgramTerms:
    """The terms on which programs run. `start`: seconds until a `stdio` server must be serving;
    `idle`: seconds for which it is kept without a call; `output`: bytes of one answer; `readable`:
    paths it may read beside those of the system."""

    start: float = 30.0
    idle: float = 300.0
    output: int = 2**20
    limits: ChildLimits = field(default_factory=ChildLimits)
    readable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Toolset:
    """How a tool server serves its tools. `command`: the command line of a `stdio` server. `tools`:
    those of a `command` server. `program`: the terms for either. `origins`: pages that may call it
    from a browser, spelled as browsers do."""

    transport: Transport
    command: tuple[str, ...] = ()
    tools: tuple[CommandTool, ...] = ()
    hooks: Hooks = Hooks()
    origins: frozenset[bytes] = frozenset()
    program: ProgramTerms = ProgramTerms()


def program_owner(server: str, user: str, key_id: str) -> str:
    """Return the owner of a program of `server`: a user, or a key that acts for nobody."""
    return f"{server}\0{'user' if user else 'key'}\0{user or key_id}"
