"""The parameters of a query, by every name that some reader gives them."""

from urllib.parse import unquote_plus


def names_of(parameter: bytes) -> frozenset[str]:
    """In lower case. To some, what `a[]` or `a[b]` holds goes into `a`."""
    name = unquote_plus(parameter.partition(b"=")[0].decode("latin-1")).casefold()
    return frozenset((name, name.partition("[")[0]))
