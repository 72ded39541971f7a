"""The reference pages as the code says them; `make reference` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.docs import command_pages, data_pages

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "commands": ("Commands", command_pages.commands),
    "errors": ("Errors", data_pages.errors),
    "metrics": ("Metrics", data_pages.metrics),
    "policies": ("Policy files", data_pages.policies),
    "settings": ("Settings", command_pages.settings),
}


def page(name: str) -> str:
    title, body = PAGES[name]
    return f"<!-- Made from the code by `make reference`. -->\n\n# {title}\n\n{body()}"


def write() -> None:
    for name in PAGES:
        (FOLDER / f"{name}.md").write_text(page(name), encoding="utf-8")
