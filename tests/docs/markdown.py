"""Markdown, written and read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

_READER = MarkdownIt("commonmark").enable("table")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def links(text: str) -> Iterator[str]:
    """Targets of links and pictures, in the order of the page."""
    for token in _READER.parse(text):
        for inline in token.children or ():
            target = inline.attrGet("href") or inline.attrGet("src")
            if target:
                yield unquote(str(target))


def fences(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, language, content, and the comment right before, of each fenced block."""
    comment = ""
    for token in _READER.parse(text):
        if token.type == "fence":
            assert token.map is not None
            yield token.map[0] + 1, token.info.strip(), token.content, comment
        comment = token.content if token.type == "html_block" else ""


def anchors(text: str) -> frozenset[str]:
    """What may stand after '#': a heading in lower case, its spaces hyphens, as on GitHub."""
    tokens = _READER.parse(text)
    headings = (inline for opened, inline in pairwise(tokens) if opened.type == "heading_open")
    return frozenset(_anchor(inline) for inline in headings)


def _anchor(heading: Token) -> str:
    words = "".join(
        part.content for part in heading.children or () if part.type in ("text", "code_inline")
    )
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
