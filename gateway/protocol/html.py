"""Common to all pages of the gateway: values are escaped, and no foreign script runs."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def templates(package: str) -> Environment:
    """Return the templates in the folder `pages` of a package."""
    return Environment(
        loader=PackageLoader(package, "pages"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_headers(*kinds: str, referrer: str) -> tuple[tuple[str, str], ...]:
    """Return the security headers of a page. `kinds`: what it loads from its own origin, such as
    `style`; inline scripts and styles are forbidden."""
    own = (f"{kind}-src 'self'" for kind in kinds)
    rest = ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'")
    return (
        ("Content-Security-Policy", "; ".join(("default-src 'none'", *own, *rest))),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", referrer),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    )
