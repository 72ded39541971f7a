"""Secrets that stand in a policy file as they are, where the vault should keep them."""

import re
from collections.abc import Iterable, Iterator

from gateway.domain.policies.problems import Problem
from gateway.domain.policies.references import NO_VARIABLE, OPEN, is_variable
from gateway.protocol.policy.tree import Path, Tree

_NAME_OF_SECRETS = re.compile(r"authorization|cookie|.*(key|token|secret|password)", re.IGNORECASE)
_LITERAL = (
    "this is sent as it stands, and everybody reads it who reads this file: keep a secret in the "
    "vault, and write ${credentials.NAME}"
)


def literals(trees: Iterable[Tree]) -> tuple[Problem, ...]:
    """Return a warning for each injected value that is a variable of the environment, or has no
    reference although its name is one of secrets, in files that are known to be valid."""
    return tuple(
        Problem(tree.place(at), NO_VARIABLE if is_variable(text) else _LITERAL)
        for tree in trees
        for at, text in _injected(tree.data)
        if is_variable(text) or (OPEN not in text and _NAME_OF_SECRETS.fullmatch(str(at[-1])))
    )


def _injected(data: object) -> Iterator[tuple[Path, str]]:
    file = data if isinstance(data, dict) else {}
    for section in ("services", "tools"):
        for name, callee in file.get(section, {}).items():
            for part, fields in callee.get("inject", {}).items():
                for field, text in fields.items() if isinstance(fields, dict) else ():
                    yield (section, name, "inject", part, field), text
