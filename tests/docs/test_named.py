"""Files, tests, targets, settings and metrics that the documentation names are there."""

import re
import tomllib

import pytest

from tests.docs.blocks import PAGES, REPOSITORY
from tests.docs.reference import page as reference

# A folder ends with '/': without it, it might be a scope.
_PATH = re.compile(
    r"`((?:tests|gateway|deploy|examples|bench)/(?:[\w./-]*(?:\.\w+|/))?)(?:::(\w+))?`"
)
_TARGET = re.compile(r"`make ([a-z-]+)")
_SETTING = re.compile(r"\bGATEWAY_[A-Z_]*[A-Z]\b")
_METRIC = re.compile(r"`(gateway_[a-z_]+)")
_OF_KUBERNETES = {"GATEWAY_PORT"}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for path, test in _PATH.findall(text):
        there = REPOSITORY / path
        assert there.exists(), path
        assert not test or f"def {test}(" in there.read_text(encoding="utf-8"), test
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in _TARGET.findall(text):
        assert f"\n{target}:" in makefile, target


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_metrics_that_a_page_names_are_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    settings = set(_SETTING.findall(reference("settings"))) | _OF_KUBERNETES
    assert set(_SETTING.findall(text)) <= settings
    assert set(_METRIC.findall(text)) <= set(_METRIC.findall(reference("metrics")))


def test_every_part_that_others_wrote_is_told_with_its_reason() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = (parts for name, parts in project["optional-dependencies"].items() if name != "test")
    parts = [re.split(r"[<>=;]", part)[0] for part in sum(extras, project["dependencies"])]
    told = (REPOSITORY / "docs/decisions/0001-parts.md").read_text().lower()
    assert [part for part in parts if part not in told] == []
