"""Models in policy files: two fields are enough, and each mistake has its place."""

import pytest

from gateway.domain.policies.snapshot import Model
from tests.protocol.policy import files


def told(*models: str) -> list[str]:
    text = "version: 1\nmodels:\n" + "".join(f"  - {model}\n" for model in models)
    return files.told(text)


def read(model: str) -> Model:
    (found,) = files.read(f"version: 1\nmodels:\n  - {model}\n").models.values()
    return found


@pytest.mark.parametrize(
    ("name", "upstream", "header"),
    [
        ("gpt-4", "https://api.openai.com/v1", "Authorization: Bearer ${credentials.a_key}"),
        ("o1", "https://api.openai.com/v1", "Authorization: Bearer ${credentials.a_key}"),
        ("claude-x", "https://api.anthropic.com", "x-api-key: ${credentials.a_key}"),
        (
            "qwen-max",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "Authorization: Bearer ${credentials.a_key}",
        ),
    ],
)
def test_a_name_and_a_credential_reach_the_provider(name: str, upstream: str, header: str) -> None:
    model = read(f"{{name: {name}, credential: '${{credentials.a_key}}'}}")
    assert [str(one) for one in model.upstreams] == [upstream]
    assert [f"{name}: {text}" for name, text in model.inject.headers] == [header]


def test_a_provider_that_is_named_is_taken_whatever_the_model_is_called() -> None:
    model = read("{name: gpt-4, provider: anthropic, credential: '${credentials.a_key}'}")
    assert [str(one) for one in model.upstreams] == ["https://api.anthropic.com"]
    assert [name for name, _ in model.inject.headers] == ["x-api-key"]


CREDENTIAL = "credential: '${credentials.a_key}'"


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        (
            [f"{{name: llama, {CREDENTIAL}}}"],
            "3:5: the name 'llama' does not tell whose model this is: add 'provider'",
        ),
        (["{name: gpt-4}"], "3:5: 'credential' is missing"),
        (["{name: gpt-4, credential: sk-value}"], "3:5: 'credential' is a value as it stands"),
        (
            ["{name: gpt-4, credential: 'bearer ${credentials.a_key}'}"],
            "3:5: the gateway writes 'Bearer' itself",
        ),
        (
            [f"{{name: gpt-4, {CREDENTIAL}, upstream_model: '${{credentials.a_key}}'}}"],
            "3:71: no reference is resolved here",
        ),
        *(
            ([f"{{name: gpt-4, credential: '{text}'}}"], f"3:{column}: no environment variable is")
            for text, column in (("os.environ/KEY", 5), ("$KEY", 5), ("${KEY}", 31))
        ),
        (["{credential: a}"], "3:3: 'name' is missing"),
        (
            [f"{{name: a, provider: compatible, {CREDENTIAL}}}"],
            "3:5: a compatible provider needs an 'upstream'",
        ),
        (
            [f"{{name: gpt-4, upstream: 'http://a.example.com', {CREDENTIAL}}}"],
            "3:5: credentials would go to a.example.com in clear",
        ),
        (
            ["{name: gpt-4, fallback: [gpt-5], " + CREDENTIAL + "}"],
            "3:30: the fallback 'gpt-5' is no other model",
        ),
        (
            [
                "{name: gpt-4, fallback: [gpt-4o, claude-x], " + CREDENTIAL + "}",
                f"{{name: gpt-4o, {CREDENTIAL}}}",
                f"{{name: claude-x, {CREDENTIAL}}}",
            ],
            "3:38: the fallback 'claude-x' speaks another dialect than 'gpt-4'",
        ),
        (
            [f"{{name: gpt-4, {CREDENTIAL}}}", f"{{name: gpt-4, {CREDENTIAL}}}"],
            "4:12: models/gpt-4 is defined already: p.yaml:3:12",
        ),
        (["{name: gpt-4, model: x}"], "3:19: unknown field 'model'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(models: list[str], problem: str) -> None:
    found = told(*models)
    assert any(problem in one for one in found), found


def test_a_fallback_is_told_beside_other_mistakes_unless_it_is_one_itself() -> None:
    """A model that is broken is there, and nobody knows what it speaks."""
    found = told(
        f"{{name: gpt-4, {CREDENTIAL}, fallback: [gpt-5, claude-x, broken, odd, {{}}]}}",
        f"{{name: claude-x, {CREDENTIAL}}}",
        "{name: broken}",
        f"{{name: odd, provider: [anthropic], {CREDENTIAL}}}",
    )
    of_fallbacks = [one.partition("the fallback ")[2] for one in found if "the fallback" in one]
    assert of_fallbacks == [
        "'gpt-5' is no other model",
        "'claude-x' speaks another dialect than 'gpt-4'",
    ]
    assert len(found) == 5, found
