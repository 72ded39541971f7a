"""Files, tests and targets that the documentation names are there."""

import re

import pytest

from tests.docs.blocks import PAGES, REPOSITORY

# A folder ends with '/': without it, it might be a scope.
_PATH = re.compile(
    r"`((?:tests|gateway|deploy|examples|bench)/(?:[\w./-]*(?:\.\w+|/))?)(?:::(\w+))?`"
)
_TARGET = re.compile(r"`make ([a-z-]+)")


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
