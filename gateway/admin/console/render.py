"""The console's pages as bytes: everything escaped, no script and no style in line."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from gateway.admin.console.words import CHINESE

_PAGES = Environment(
    loader=PackageLoader("gateway.admin.console", "pages"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
STATIC: Mapping[str, tuple[str, bytes]] = {
    name: (kind, files("gateway.admin.console").joinpath(f"static/{name}").read_bytes())
    for name, kind in (
        ("console.css", "text/css; charset=utf-8"),
        ("console.js", "text/javascript; charset=utf-8"),
        ("htmx-4.0.1.min.js", "text/javascript; charset=utf-8"),
        ("audit.js", "text/javascript; charset=utf-8"),
    )
}
HEADERS = (
    (
        "Content-Security-Policy",
        "; ".join(
            (
                "default-src 'none'",
                "style-src 'self'",
                "script-src 'self'",
                "connect-src 'self'",
                "img-src 'self'",
                "form-action 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            )
        ),
    ),
    ("Cache-Control", "no-store"),
    # With no-referrer a browser's own forms would say that they come from nowhere.
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
# Of a chart, in its own units.
_WIDTH, _HEIGHT = 600, 80


def page(name: str, lang: str, **values: Any) -> bytes:
    def translated(text: str) -> str:
        return CHINESE.get(text, text) if lang == "zh" else text

    template = _PAGES.get_template(f"{name}.html")
    code = "zh-Hans" if lang == "zh" else "en"
    return template.render(_=translated, lang=code, **values).encode()


def bars(values: Sequence[int]) -> list[dict[str, float]]:
    """A bar for each value; the tallest is as high as the chart."""
    most = max((*values, 1))
    width = _WIDTH / max(1, len(values))
    return [
        {
            "x": round(place * width + 1, 2),
            "y": round(_HEIGHT - value / most * _HEIGHT, 2),
            "width": round(max(1.0, width - 2), 2),
            "height": round(value / most * _HEIGHT, 2),
            "value": value,
        }
        for place, value in enumerate(values)
    ]


def utc(second: float | None) -> str:
    """An instant as machines write it; the page's script shows it in the reader's zone."""
    return "" if second is None else datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%MZ")


_PAGES.filters["utc"] = utc
