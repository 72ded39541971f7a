"""The fenced blocks of a page, and what its comments say of them.

A comment of its own before a block may say one of

    <!-- not run: REASON -->        it is shown only: it needs what a test has not, for that reason
    <!-- file: policies/x.yaml -->  readers save it under this name; so does the test
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import fences

REPOSITORY = Path(__file__).parents[2]
WHERE = ("README*.md", "bench/**/*.md", "deploy/**/*.md", "docs/**/*.md", "examples/**/*.md")
PAGES = tuple(
    sorted(
        page.relative_to(REPOSITORY).as_posix() for glob in WHERE for page in REPOSITORY.glob(glob)
    )
)
RUN = frozenset({"sh", "console", "python"})
SHOWN = frozenset({"text", "mermaid"})
LANGUAGES = RUN | SHOWN | {"yaml", "json"}

_MARKER = re.compile(r"<!-- (not run|file): (.+?) -->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """`line`: of its first fence, from 1. `not_run`: the reason. `file`: where it is saved."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> Iterator[Block]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for line, language, content, comment in fences(text):
        told = dict([found.groups()]) if (found := _MARKER.search(comment)) else {}
        yield Block(
            page, line, language, content, told.get("not run", "").strip(), told.get("file", "")
        )


ALL = tuple(block for page in PAGES for block in blocks_of(page))
