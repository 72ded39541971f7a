"""The table of denials is whole: each code has a test, and only the edges answer one."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.domain.errors import DENIALS, Code

ROOT = Path(__file__).parents[1]
# Where a refusal becomes what somebody sees: an answer, an exit code, an explanation.
EDGES = {
    "gateway/proxy/handler.py",
    "gateway/proxy/admin_handler.py",
    "gateway/admin/console/console.py",
    "gateway/proxy/tools/answers.py",
    "gateway/proxy/tools/running_requests.py",
    "gateway/services/admission/explain.py",
    "gateway/app/upstream_probe.py",
}
# Where a refusal is told in another way, and work goes on: an upstream that cannot be reached while
# there is another one to ask; a reader of a stream whose key has died; one of several keys; a
# record that nobody waits for; what 'explain' tells once it knows the key; an agent's own code that
# is told of a change; a token that could not be fetched, which whoever waits for it is told; what
# is left of an answer whose caller has left; policy files at which the reader itself fails; what
# fails in a thread, which whoever started the thread is told.
GOES_ON = {
    ("gateway/services/credentials/tokens.py", "_renew"),
    ("gateway/proxy/forward.py", "_acquire"),
    ("gateway/admin/api.py", "_caller"),
    ("gateway/admin/api.py", "still"),
    ("gateway/services/keys/bulk.py", "rotations"),
    ("gateway/services/audit/queue.py", "_record"),
    ("gateway/services/admission/own_places.py", "_of_operators"),
    ("gateway/services/admission/own_places.py", "_pull_of"),
    ("gateway/client/credentials.py", "_call_back"),
    ("gateway/client/blocking.py", "_run"),
    ("gateway/proxy/inflight.py", "_end"),
    ("gateway/proxy/metered.py", "read_on"),
    ("gateway/services/policies/directory.py", "read_contents"),
    ("gateway/store/connections/multiplex.py", "_keep_connected"),
    ("gateway/tasks.py", "_again_and_again"),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(folder: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def functions(tree: ast.Module) -> Iterator[Function]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def marked() -> dict[str, list[tuple[str, Function]]]:
    """The tests that say which denial they show, by its name."""
    found: dict[str, list[tuple[str, Function]]] = {}
    for path, tree in modules("tests"):
        for function in functions(tree):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                    "mark.denial"
                ):
                    name = ast.literal_eval(decorator.args[0])
                    found.setdefault(name, []).append((path, function))
    return found


@pytest.mark.parametrize("code", list(Code))
def test_each_code_has_a_row_and_a_test_that_names_it(code: Code) -> None:
    row = DENIALS[code]
    assert row.message.endswith(".")
    assert 400 <= row.status < 600
    shown = marked().get(row.name, [])
    sources = [ast.unparse(function) for _, function in shown]
    names = (f"Code.{code.name}", f"'{row.name}'")
    assert any(name in source for source in sources for name in names), (
        f"no test is marked denial({row.name!r}) and asserts it"
    )


def test_each_mark_is_of_a_code_that_exists() -> None:
    assert set(marked()) <= {row.name for row in DENIALS.values()}


def handlers(tree: ast.Module) -> Iterator[tuple[str, str, ast.ExceptHandler]]:
    """(function, what it catches, the handler) of every except clause."""
    for function in functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler):
                yield function.name, ast.unparse(node.type) if node.type else "", node


def raises(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)


def test_only_the_edges_turn_a_refusal_into_something_else() -> None:
    swallowed = [
        f"{path}:{handler.lineno}"
        for path, tree in modules("gateway")
        if path not in EDGES and not path.startswith("gateway/cli/")
        for function, caught, handler in handlers(tree)
        if {"Denied", "GatewayError", "Exception", "BaseException", ""}
        & set(caught.strip("()").split(", "))
        and not raises(handler)
        and (path, function) not in GOES_ON
    ]
    assert swallowed == []
