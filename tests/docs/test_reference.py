"""The reference pages are what the code says, and say all of it."""

import re
from pathlib import Path

import pytest

from gateway.cli.environment import VARIABLES
from gateway.cli.main import root
from gateway.cli.serve import serve
from gateway.domain.units import duration
from tests.docs.command_pages import leaves
from tests.docs.reference import FOLDER, PAGES, page

SOURCE = Path(__file__).parents[2] / "gateway"
VARIABLE = re.compile(r"\bGATEWAY_[A-Z_]+\b")


def variables(text: str) -> set[str]:
    return set(VARIABLE.findall(text))


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_as_the_code_says(name: str) -> None:
    written = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(name), "run `make reference`"


def test_every_setting_that_is_read_is_told_and_no_other() -> None:
    read = set[str]().union(*(variables(path.read_text()) for path in SOURCE.rglob("*.py")))
    flags = {str(option.envvar) for option in serve.params if option.envvar}
    assert variables(page("settings")) == read | flags


def test_the_times_that_are_told_are_those_in_the_code() -> None:
    source = "".join(path.read_text() for path in (SOURCE / "cli").rglob("*.py"))
    read = dict(re.findall(r'from_environment\("(\w+)", ([\d.]+), duration\)', source))
    assert len(read) >= 2
    told = {one.name: one.default for one in VARIABLES}
    for name, default in read.items():
        assert duration(told[name]) == float(default), name


def test_no_setting_has_a_name_that_kubernetes_injects() -> None:
    for name in variables(page("settings")):
        assert not name.endswith(("_PORT", "_HOST"))
        assert not name.startswith("GATEWAY_SERVICE")


def test_every_command_shows_an_example_of_itself() -> None:
    assert [path for path, command in leaves(root) if path not in (command.epilog or "")] == []
