"""Which methods are passed on, and what is told of the others."""

from gateway.domain.errors import Code, Denied

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What the parser below reads besides. Of any other word it finds that no request begins with it.
FOREIGN = frozenset(
    {
        *("ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE"),
        *("MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PROPFIND", "PROPPATCH"),
        *("PURGE", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE"),
        *("UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"),
    }
)
_CAPITALS = "A method is written in capitals, such as GET."


def check_method(method: str) -> None:
    """Denied where no request of this method is passed on."""
    if method in METHODS:
        return
    if method not in FOREIGN:
        raise Denied(Code.BAD_REQUEST, miswritten(method), close=True)
    raise Denied(
        Code.METHOD_NOT_ALLOWED,
        "The gateway does not pass on this method.",
        headers=(("Allow", ", ".join(sorted(METHODS))),),
        close=True,
    )


def miswritten(method: str) -> str:
    """What is wrong with this word for one; empty where it is like none that is passed on."""
    return _CAPITALS if method not in METHODS and method.upper() in METHODS else ""
