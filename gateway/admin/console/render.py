"""Rendering the console's pages."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from gateway.admin.console.explain_words import EXPLAINED
from gateway.admin.console.refusal_words import in_chinese
from gateway.admin.console.words import CHINESE
from gateway.domain.credentials import TYPES
from gateway.protocol.html import page_headers, templates

_PAGES = templates("gateway.admin.console")
_WORDS: Mapping[str, str] = CHINESE | EXPLAINED
STATIC: Mapping[str, tuple[str, bytes]] = {
    name: (kind, files("gateway.admin.console").joinpath(f"static/{name}").read_bytes())
    for name, kind in (
        ("console.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("console.js", "text/javascript; charset=utf-8"),
        ("htmx-4.0.1.min.js", "text/javascript; charset=utf-8"),
        ("audit.js", "text/javascript; charset=utf-8"),
    )
}
# With no-referrer, browsers would send forms with "Origin: null".
HEADERS = page_headers("style", "script", "connect", "img", referrer="same-origin")


def render(name: str, lang: str, **values: Any) -> bytes:
    def translated(text: str) -> str:
        return _WORDS.get(text, text) if lang == "zh" else text

    def translated_refusal(sentence: str) -> str:
        """Translate a sentence of the API; empty if the page is English or it is not known."""
        return (_WORDS.get(sentence) or in_chinese(sentence)) if lang == "zh" else ""

    template = _PAGES.get_template(f"{name}.html")
    code = "zh-Hans" if lang == "zh" else "en"
    return template.render(
        _=translated, translate_refusal=translated_refusal, lang=code, **values
    ).encode()


def utc(second: float | None) -> str:
    """Format an instant for the page's script, which shows it in the reader's time zone. Beyond
    the calendar: the number itself."""
    if second is None:
        return ""
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return str(second)


def took(milliseconds: float) -> str:
    """Format a duration with three digits, in ms or s."""
    if milliseconds >= 999.5:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.3g} ms"


# Fields that are no secrets, and are shown while they are typed.
_PAGES.globals["PUBLIC_PARTS"] = frozenset(part for kind in TYPES.values() for part in kind.public)
_PAGES.filters["utc"] = utc
_PAGES.filters["took"] = took
