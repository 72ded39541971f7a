"""Tool servers that speak MCP: how each is reached, and what is put into calls of its tools."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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
    """Own code around each call of a tool, each as `module:function`, in the order they run."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolServer:
    """What an agent of the kind `tools` has beside what all have. `command`: the command line of a
    `stdio` server; `tools`: those of a `command` server. `origins`: pages that may call it from a
    browser, each as browsers spell it."""

    transport: Transport
    command: tuple[str, ...] = ()
    tools: tuple[CommandTool, ...] = ()
    hooks: Hooks = Hooks()
    origins: frozenset[bytes] = frozenset()
