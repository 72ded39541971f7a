"""Every link in the documentation leads somewhere, down to the heading."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import anchors, links

REPOSITORY = Path(__file__).parents[2]
# Not what was installed or built here.
FOLDERS = ("bench", "deploy", "docs", "examples", "gateway", "policies", "tests")
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(p for f in FOLDERS for p in (REPOSITORY / f).rglob("*.md"))]
)
ELSEWHERE = re.compile(r"[a-z]+:")


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in links(page.read_text(encoding="utf-8")):
        if ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else page.parent / path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target
