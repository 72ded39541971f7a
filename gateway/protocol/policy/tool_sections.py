"""The sections of policy files for tools: MCP servers, and programs that become tools."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.domain.command_line import mistake
from gateway.domain.policies.tools import Transport
from gateway.protocol.policy.sections import (
    Section,
    TimeoutsSection,
    Upstreams,
    check_clear,
    check_headers,
)
from gateway.protocol.policy.urls import OriginText
from gateway.protocol.policy.values import (
    ArgumentText,
    Count,
    Duration,
    EnvName,
    FieldName,
    HeaderText,
    HookName,
    InjectedHeader,
    LiteralObject,
    LiteralText,
    Name,
    Size,
    TemplateText,
    WholePath,
)

_NEEDED = {
    Transport.HTTP: "upstream",
    Transport.STDIO: "command",
    Transport.COMMAND: "tools",
}


class CommandToolSection(Section):
    """One tool of a server whose transport is `command`."""

    name: Name = Field(description="Also the last part of the scope that it needs.")
    description: LiteralText = Field(default="", description="For the model that calls it.")
    input: LiteralObject = Field(
        default={"type": "object"},
        description="JSON Schema of its arguments. Those in `argv` that have no default are "
        "required, and text if none is described.",
    )
    argv: list[ArgumentText] = Field(
        min_length=1, description="Program and arguments; {name} is an argument of the tool."
    )

    @model_validator(mode="after")
    def _its_arguments_are_described(self) -> Self:
        problem = mistake(self.argv, self.input)
        if problem:
            raise ValueError(problem)
        return self


class ToolInjectSection(Section):
    """What is put into every call, in place of what the caller sends under these names."""

    headers: dict[InjectedHeader, HeaderText] = Field(default={}, description="http: header lines.")
    query: dict[FieldName, TemplateText] = Field(
        default={}, description="http: query parameters of its URL."
    )
    arguments: dict[FieldName, TemplateText] = Field(
        default={}, description="http, stdio: arguments of the tool that is called."
    )
    env: dict[EnvName, TemplateText] = Field(
        default={}, description="stdio, command: environment of the program."
    )


class ProgramSection(Section):
    """On which terms the programs of a server run: each is a child process, kept apart."""

    start: Duration = Field(default=30.0, description="stdio: until it serves. Default: 30s.")
    idle: Duration = Field(
        default=300.0, description="stdio: how long it is kept without a call. Default: 5m."
    )
    output: Size = Field(default=2**20, description="The longest answer. Default: 1MiB.")
    memory: Size = Field(
        default=2**30, description="What a process of it may write to. Default: 1GiB."
    )
    cpu: Duration | None = Field(
        default=None, description="Work of a process, in whole seconds. Left out: no limit."
    )
    processes: Count = Field(default=128, description="With threads. Default: 128.")
    files: Count = Field(default=1024, description="Open at once in a process. Default: 1024.")
    file_size: Size = Field(default=2**30, description="The largest file. Default: 1GiB.")
    readable: list[WholePath] = Field(
        default=[], description="More places that it may read beside the system: /srv/tools."
    )


class HooksSection(Section):
    before: list[HookName] = Field(default=[], description="Run before a tool is called.")
    after: list[HookName] = Field(default=[], description="Run on what it answers.")
    timeout: Duration = Field(default=5.0, description="Of each of them. Default: 5s.")


class ToolSection(Section):
    """A server of tools. Its scopes are `tools/<name>:<tool>`, its URL `/tools/<name>/mcp`."""

    transport: Annotated[Transport, Field(strict=False)] = Field(
        description="http: an MCP server at a URL; stdio: one that is a program; command: programs."
    )
    upstream: Upstreams | None = Field(
        default=None, description="http: the URL of its endpoint, or a section with more."
    )
    command: list[ArgumentText] | None = Field(
        default=None, min_length=1, description="stdio: the program that speaks MCP."
    )
    tools: list[CommandToolSection] | None = Field(
        default=None, min_length=1, description="command: its tools."
    )
    inject: ToolInjectSection = Field(default_factory=ToolInjectSection)
    program: ProgramSection = Field(default_factory=ProgramSection)
    hooks: HooksSection = Field(default_factory=HooksSection)
    origins: list[OriginText] = Field(
        default=[], description="Pages that may call it from a browser: https://app.example.com."
    )
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    max_body: Size | None = Field(
        default=None, description="Of a request. Left out, and at most: 4 MiB."
    )
    allow_http: bool = Field(
        default=False, description="http: credentials may go there in clear, beyond this machine."
    )

    @model_validator(mode="after")
    def _it_has_what_its_transport_needs(self) -> Self:
        for transport, name in _NEEDED.items():
            if (getattr(self, name) is not None) != (self.transport is transport):
                if self.transport is transport:
                    raise ValueError(f"the transport {transport} needs {name!r}")
                raise ValueError(f"{name!r} is for the transport {transport}")
        if self.upstream is not None and len(self.upstream) != 1:
            raise ValueError("a session stays where it was opened: give one upstream")
        return self

    @model_validator(mode="after")
    def _values_go_where_they_can(self) -> Self:
        inject, http = self.inject, self.transport is Transport.HTTP
        if (inject.headers or inject.query) and not http:
            raise ValueError("a program has no headers and no query: put the values into 'env'")
        if inject.env and http:
            raise ValueError("what is called by http has no 'env': put the values into 'headers'")
        if http and self.program.model_fields_set:
            raise ValueError("'program' is for the transports stdio and command")
        if inject.arguments and self.transport is Transport.COMMAND:
            raise ValueError(
                "an argument would stand in a command line, which the list of processes shows: "
                "put the value into 'env'"
            )
        check_headers(inject.headers)
        return self

    @model_validator(mode="after")
    def _each_tool_is_there_once(self) -> Self:
        names = [tool.name for tool in self.tools or ()]
        if len(set(names)) != len(names):
            raise ValueError("two tools have the same name")
        return self

    @model_validator(mode="after")
    def _it_goes_over_tls(self) -> Self:
        if not self.allow_http:
            check_clear(self.upstream or ())
        return self

    @model_validator(mode="after")
    def _pages_are_named(self) -> Self:
        if b"*" in self.origins:
            raise ValueError("name each origin: with '*' any page could call the tools")
        return self
