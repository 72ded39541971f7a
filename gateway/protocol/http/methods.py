"""Which methods are passed on, and how others are refused."""

from gateway.domain.errors import Code, Denied, bad_request

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Methods that aiohttp's parser also accepts. It refuses a request that begins with another word.
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
    """Raise Denied if requests of this method are not passed on."""
    if method in METHODS:
        return
    if method not in FOREIGN:
        raise bad_request(spelling_problem(method))
    raise Denied(
        Code.METHOD_NOT_ALLOWED,
        "The gateway does not pass on this method. Use one from the Allow header.",
        headers=(("Allow", ", ".join(sorted(METHODS))),),
        close=True,
    )


def spelling_problem(method: str) -> str:
    """Return what is wrong with this spelling of a method; empty if it is like none of METHODS."""
    return _CAPITALS if method not in METHODS and method.upper() in METHODS else ""
