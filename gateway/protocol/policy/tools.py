"""What policy files say of tools, as agents that speak MCP."""

import math
from types import MappingProxyType

from gateway.domain.children import ChildLimits
from gateway.domain.policies import Agent, Timeouts, Upstream
from gateway.domain.services import Inject
from gateway.domain.tools import CommandTool, Hooks, ProgramTerms, ToolServer
from gateway.protocol.policy.tool_sections import (
    CommandToolSection,
    ProgramSection,
    ToolSection,
)

LONGEST_MESSAGE = 4 * 2**20


def tool_server_of(name: str, section: ToolSection, upstreams: tuple[Upstream, ...]) -> Agent:
    times, inject, hooks = section.timeouts, section.inject, section.hooks
    return Agent(
        name,
        upstreams,
        timeouts=Timeouts(times.connect, times.first_byte, times.idle),
        max_body=LONGEST_MESSAGE if section.max_body is None else section.max_body,
        kind="tools",
        inject=Inject(
            tuple(inject.headers.items()),
            arguments=tuple(inject.arguments.items()),
            env=tuple(inject.env.items()),
        ),
        tools=ToolServer(
            section.transport,
            tuple(section.command or ()),
            tuple(map(_command, section.tools or ())),
            Hooks(tuple(hooks.before), tuple(hooks.after)),
            frozenset(section.origins),
            _terms(section.program),
        ),
    )


def _command(section: CommandToolSection) -> CommandTool:
    schema = MappingProxyType(section.input)
    return CommandTool(section.name, section.description, schema, tuple(section.argv))


def _terms(section: ProgramSection) -> ProgramTerms:
    cpu = None if section.cpu is None else math.ceil(section.cpu)
    limits = ChildLimits(section.memory, cpu, section.processes, section.files, section.file_size)
    readable = tuple(section.readable)
    return ProgramTerms(section.start, section.idle, section.output, limits, readable)
