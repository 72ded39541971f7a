"""Names that no policy has: which are told, and which one was meant."""

import pytest

from gateway.domain.keys.scopes import parse
from gateway.domain.policies.unknown_names import unknown_name
from gateway.protocol.policy.read import read_policies

POLICIES = b"""\
version: 1
agents:
  echo: {upstream: 'http://127.0.0.1:9101'}
  chat:
    upstream: http://127.0.0.1:9102
    routes: [{path: /health, public: true}, {path: /chat, action: chat}]
services:
  crm: {upstream: 'http://127.0.0.1:9103', inject: {headers: {X: '${credentials.crm}'}}}
models: [{name: gpt-4, credential: '${credentials.openai_key}'}]
tools:
  remote: {transport: http, upstream: 'http://127.0.0.1:9200/mcp'}
  local:
    transport: command
    tools: [{name: list_files, description: d, input: {type: object}, argv: [ls]}]
"""


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("agents/ech", "no policy has agents/ech; did you mean agents/echo?"),
        ("agents/ech:invoke", "no policy has agents/ech; did you mean agents/echo?"),
        ("agents/chat:chta", "no policy has agents/chat:chta; did you mean agents/chat:chat?"),
        ("agents/chat:invoke", "no policy has agents/chat:invoke"),
        ("agents/echo:chat", "no policy has agents/echo:chat"),
        ("agents/sales", "no policy has agents/sales"),
        ("agents/gpt-4", "no policy has agents/gpt-4; did you mean models/gpt-4?"),
        ("models/gpt4", "no policy has models/gpt4; did you mean models/gpt-4?"),
        ("services/cmr", "no policy has services/cmr; did you mean services/crm?"),
        ("tools/remot", "no policy has tools/remot; did you mean tools/remote?"),
        (
            "tools/local:list_file",
            "no policy has tools/local:list_file; did you mean tools/local:list_files?",
        ),
    ],
)
def test_a_name_that_no_policy_has_is_told_with_the_one_that_was_meant(
    scope: str, told: str
) -> None:
    assert absence_of(scope) == told


@pytest.mark.parametrize(
    "scope",
    [
        *("agents/echo", "agents/echo:invoke", "agents/chat:chat", "models/gpt-4", "services/crm"),
        # Which tools a server of its own has, only that server knows.
        *("tools/remote:anything", "tools/local", "tools/local:list_files"),
        *("*", "agents/*", "agents/*:chat", "gateway/admin", "gateway/credentials:crm"),
    ],
)
def test_nothing_is_said_of_what_is_there_or_cannot_be_known(scope: str) -> None:
    assert absence_of(scope) == ""


def absence_of(text: str) -> str:
    scope, policies = parse(text), read_policies({"p.yaml": POLICIES}).policies
    assert scope is not None and policies is not None
    return str(unknown_name(scope, policies) or "")
