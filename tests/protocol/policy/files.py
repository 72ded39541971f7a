"""One policy file, read."""

from gateway.domain.policies.snapshot import Policies
from gateway.protocol.policy.read import read_policies


def told(text: str) -> list[str]:
    """What is wrong with it."""
    loaded = read_policies({"p.yaml": text.encode()})
    assert loaded.problems == () or loaded.policies is None
    return [str(problem) for problem in loaded.problems]


def read(text: str) -> Policies:
    loaded = read_policies({"p.yaml": text.encode()})
    assert loaded.policies is not None, loaded.problems
    return loaded.policies
