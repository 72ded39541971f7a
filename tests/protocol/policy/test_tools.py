"""Tools in policy files: what each line means, and each mistake with its place."""

import json

import jsonschema
import pytest
import yaml

from gateway.domain.children import ChildLimits
from gateway.domain.policies.references import Reference
from gateway.domain.policies.tools import Hooks, ProgramTerms, Transport
from gateway.protocol.policy.models import json_schema
from gateway.protocol.policy.read import read_policies
from tests.protocol.policy.files import read, told

ALL = """version: 1
tools:
  fc:
    transport: http
    upstream: {url: "https://fc.example.com/mcp", public: true}
    inject:
      headers: {Authorization: "Bearer ${user.github.value}"}
      arguments: {access_key: "${user.aliyun.access_key_id}"}
    hooks: {before: ["company.hooks:check"], after: ["company.hooks:look"]}
    origins: [https://App.example.com]
    timeouts: {first_byte: 10m}
    max_body: 1MB
  files:
    transport: stdio
    command: [some-mcp-server, --flag]
    program: {idle: 1m, memory: 512MiB, cpu: 1500ms, processes: 16, readable: [/srv/tools]}
    inject:
      env: {TOKEN: "${user.files.value}"}
      arguments: {token: "${credentials.shared}"}
  cloud:
    transport: command
    tools:
      - name: list_functions
        description: Lists functions of $${REGION}.
        input:
          type: object
          properties: {region: {type: string}, south: {type: number, enum: [0.5, "$${x}"]}}
          required: [region]
        argv: [cli, list, --region, "{region}", "$${HOME}"]
    inject: {env: {SECRET: "${user.aliyun.access_key_secret}"}}
"""


def test_an_mcp_server_at_a_url_has_what_the_file_says() -> None:
    policies = read(ALL)
    fc = policies.tools["fc"]
    assert fc.kind == "tools" and fc.place == "tools/fc" and fc.tools and fc.inject
    assert fc.tools.transport is Transport.HTTP and fc.upstreams[0].public
    assert [str(one) for one in fc.upstreams] == ["https://fc.example.com/mcp"]
    assert [(name, str(text)) for name, text in fc.inject.headers] == [
        ("Authorization", "Bearer ${user.github.value}")
    ]
    assert fc.inject.references == (
        Reference("github", "value", of_user=True),
        Reference("aliyun", "access_key_id", of_user=True),
    )
    assert fc.tools.hooks == Hooks(("company.hooks:check",), ("company.hooks:look",))
    assert fc.tools.origins == {b"https://app.example.com"}
    assert (fc.timeouts.first_byte, fc.max_body) == (600.0, 1_000_000)
    assert policies.origins["tools/fc"].line == 3


def test_a_message_is_held_whole_and_has_a_longest_length_whatever_the_file_says() -> None:
    fc = read(ALL.replace("max_body: 1MB", "max_body: 1GB")).tools["fc"]
    assert fc.max_body == 4 * 2**20


def test_programs_have_what_the_file_says() -> None:
    policies = read(ALL)
    files, cloud = policies.tools["files"], policies.tools["cloud"]
    assert files.tools and cloud.tools and files.inject and cloud.inject
    assert files.tools.command == ("some-mcp-server", "--flag") and not files.upstreams
    assert files.tools.program == ProgramTerms(
        idle=60.0, limits=ChildLimits(2**29, 2, 16), readable=("/srv/tools",)
    )
    assert cloud.tools.program == ProgramTerms()
    assert files.max_body == 4 * 2**20
    assert [str(one) for one in files.inject.references] == [
        "${credentials.shared}",
        "${user.files.value}",
    ]
    (tool,) = cloud.tools.tools
    assert (tool.name, tool.description) == ("list_functions", "Lists functions of ${REGION}.")
    assert tool.input["required"] == ["region"]
    assert tool.input["properties"]["south"] == {"type": "number", "enum": [0.5, "${x}"]}
    assert tool.argv == ("cli", "list", "--region", "{region}", "${HOME}")


def test_every_credential_of_a_tool_is_mentioned_so_that_a_missing_one_is_found() -> None:
    mentioned = {str(one.reference) for one in read(ALL).mentions}
    assert "${credentials.shared}" in mentioned and "${user.github.value}" in mentioned


def test_the_schema_for_editors_takes_it() -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(_loaded())))


def _loaded() -> object:
    return yaml.safe_load(ALL)


MISTAKES = {
    "transport: http": "the transport http needs 'upstream'",
    "transport: stdio": "the transport stdio needs 'command'",
    "transport: command": "the transport command needs 'tools'",
    "{transport: http, upstream: 'http://127.0.0.1/mcp', command: [x]}": (
        "'command' is for the transport stdio"
    ),
    "{transport: stdio, command: []}": "at least one item",
    "{transport: http, upstream: 'http://127.0.0.1/mcp', inject: {env: {A: b}}}": "no 'env'",
    "{transport: stdio, command: [x], inject: {headers: {A: b}}}": "a program has no headers",
    "{transport: command, tools: [{name: a, argv: [x]}], inject: {query: {a: b}}}": "no query",
    "{transport: stdio, command: ['${credentials.crm}']}": "shown in the list of processes",
    "{transport: stdio, command: [x], inject: {env: {'A-B': b}}}": "not the name of a variable",
    "{transport: command, tools: [{name: a, argv: [x]}], inject: {arguments: {a: b}}}": (
        "an argument would stand in a command line"
    ),
    "{transport: command, tools: [{name: a, argv: [x]}, {name: a, argv: [x]}]}": (
        "two tools have the same name"
    ),
    "{transport: command, tools: [{name: a, argv: []}]}": "at least one item",
    "{transport: command, tools: [{name: a, argv: [x, '']}]}": "cannot stand in a command line",
    r'{transport: command, tools: [{name: a, argv: [x, "a\0"]}]}': "cannot stand in a command line",
    "{transport: http, upstream: ['http://127.0.0.1:1', 'http://[::1]:2']}": "give one upstream",
    "{transport: http, upstream: 'http://fc.example.com/mcp'}": "in clear",
    "{transport: http, upstream: 'http://169.254.169.254/mcp'}": "clouds keep their credentials",
    "{transport: http, upstream: 'http://127.0.0.1', origins: ['*']}": "name each origin",
    "{transport: http, upstream: 'http://127.0.0.1', hooks: {before: [company.check]}}": (
        "module:function"
    ),
    "{transport: http, upstream: 'http://127.0.0.1', inject: {headers: {A: b, a: c}}}": (
        "two of these headers"
    ),
    "{transport: http, upstream: 'http://127.0.0.1', inject: {headers: {A: '${crm}'}}}": (
        "this is no reference"
    ),
    "{transport: http, upstream: 'http://127.0.0.1', program: {idle: 1s}}": "'program' is for",
    "{transport: stdio, command: [x], program: {readable: [here]}}": "not a whole path",
    "{transport: stdio, command: [x], program: {processes: 0}}": "at least 1",
    "{transport: command, tools: [{name: a, argv: [x, '{b}'], input: {properties: {}}}]}": (
        "describes no argument 'b'"
    ),
    "{transport: command, tools: [{name: a, argv: [x], description: '${credentials.crm}'}]}": (
        "no reference is resolved here: 'inject' and 'credential' say where credentials go; a "
        "literal '${' is '$${'"
    ),
    "{transport: pigeon}": "'http', 'stdio' or 'command'",
}


@pytest.mark.parametrize("written", MISTAKES)
def test_each_mistake_is_told_with_its_place(written: str) -> None:
    section = written if written.startswith("{") else f"{{{written}}}"
    (problem,) = told(f"version: 1\ntools:\n  fc: {section}\n")
    assert problem.startswith("p.yaml:3:"), problem
    assert MISTAKES[written] in problem


def test_a_name_that_is_defined_twice_is_an_error() -> None:
    once = b"version: 1\ntools:\n  fc: {transport: stdio, command: [x]}\n"
    loaded = read_policies({"a.yaml": once, "b.yaml": once})
    assert [str(one) for one in loaded.problems] == [
        "b.yaml:3:3: tools/fc is defined already: a.yaml:3:3"
    ]
