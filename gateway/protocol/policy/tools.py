"""Build tool servers from sections of policy files."""

import math
from pathlib import PurePath
from types import MappingProxyType

from gateway.domain.children import ChildLimits
from gateway.domain.command_line import completed
from gateway.domain.policies.cors import Cors
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import ToolServer
from gateway.domain.policies.tools import CommandTool, Hooks, ProgramTerms, Toolset
from gateway.protocol.policy.tool_sections import CommandToolSection, ProgramSection, ToolSection

LONGEST_MESSAGE = 4 * 2**20
_SENT = (
    "Content-Type",
    "X-User-Id",
    "MCP-Protocol-Version",
    "Mcp-Session-Id",
    "Mcp-Method",
    "Mcp-Name",
    "Last-Event-ID",
)
_READ = ("Mcp-Session-Id", "MCP-Protocol-Version")


def tool_server_of(name: str, section: ToolSection, folder: PurePath) -> ToolServer:
    inject, hooks = section.inject, section.hooks
    return ToolServer(
        name,
        tuple(one.read(folder, is_whole=True) for one in section.upstream or ()),
        section.timeouts.read(),
        min(section.max_body or LONGEST_MESSAGE, LONGEST_MESSAGE),
        _cors(section.origins),
        Inject(
            tuple(inject.headers.items()),
            tuple(inject.query.items()),
            arguments=tuple(inject.arguments.items()),
            env=tuple(inject.env.items()),
        ),
        Toolset(
            section.transport,
            tuple(section.command or ()),
            tuple(map(_command, section.tools or ())),
            Hooks(tuple(hooks.before), tuple(hooks.after), hooks.timeout),
            frozenset(section.origins),
            _terms(section.program),
        ),
    )


def _cors(origins: list[bytes]) -> Cors | None:
    """Return the CORS settings for the pages that may call the server."""
    if not origins:
        return None
    return Cors(frozenset(origins), _SENT, credentials=False, max_age=600.0, exposed=_READ)


def _command(section: CommandToolSection) -> CommandTool:
    schema = MappingProxyType(completed(section.argv, section.input))
    return CommandTool(section.name, section.description, schema, tuple(section.argv))


def _terms(section: ProgramSection) -> ProgramTerms:
    cpu = None if section.cpu is None else math.ceil(section.cpu)
    limits = ChildLimits(section.memory, cpu, section.processes, section.files, section.file_size)
    readable = tuple(section.readable)
    return ProgramTerms(section.start, section.idle, section.output, limits, readable)
