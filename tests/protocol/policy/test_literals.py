"""Secrets belong into the vault, and not into files of policies."""

from gateway.protocol.policy.read import read_policies

TEXT = """\
version: 1
services:
  crm:
    upstream: https://crm.test
    inject:
      headers: {Authorization: Bearer hush, X-Version: "2"}
      query: {api_key: hush, account: "7"}
      body: {token: "${credentials.crm}"}
tools:
  fc:
    transport: stdio
    command: [fc]
    inject:
      env: {FC_SECRET: $HUSH}
"""


def test_a_secret_that_stands_in_a_file_as_it_is_is_warned_of_and_not_repeated() -> None:
    loaded = read_policies({"p.yaml": TEXT.encode()})
    assert loaded.policies is not None
    places = [str(warning.place) for warning in loaded.warnings]
    assert places == ["p.yaml:6:32", "p.yaml:7:24", "p.yaml:14:24"]
    for warning in loaded.warnings:
        assert "the vault, and write ${credentials.NAME}" in warning.message
        assert "hush" not in warning.message.lower()


def test_a_variable_of_the_environment_is_not_read_and_that_is_said() -> None:
    loaded = read_policies(
        {"p.yaml": TEXT.replace('account: "7"', "account: os.environ/A").encode()}
    )
    told = {str(one.place): one.message for one in loaded.warnings}
    assert list(told) == ["p.yaml:6:32", "p.yaml:7:24", "p.yaml:7:39", "p.yaml:14:24"]
    of_variables = [place for place, text in told.items() if "no environment variable" in text]
    assert of_variables == ["p.yaml:7:39", "p.yaml:14:24"]
