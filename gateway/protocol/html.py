"""What every page of the gateway has in common: all is escaped, nothing of others runs in it."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def templates(package: str) -> Environment:
    """Those in its folder `pages`."""
    return Environment(
        loader=PackageLoader(package, "pages"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_headers(*kinds: str, referrer: str) -> tuple[tuple[str, str], ...]:
    """`kinds`: what the page loads from its own origin, such as `style`: no script and no style
    stands in it."""
    own = (f"{kind}-src 'self'" for kind in kinds)
    rest = ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'")
    return (
        ("Content-Security-Policy", "; ".join(("default-src 'none'", *own, *rest))),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", referrer),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    )
