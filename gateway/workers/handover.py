"""What a worker is told in addition to the command line and environment of its supervisor."""

import json
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict, dataclass, fields

# Messages of the worker, one byte each: it serves; it asks to be replaced.
READY = b"r"
SPENT = b"s"
# The supervisor's message: the end is announced to load balancers.
END_ANNOUNCED = b"e"

_VARIABLE = "AGK_HANDOVER"


@dataclass(frozen=True, slots=True)
class Handover:
    """`data`, `admin`: descriptors of listening sockets; `line`: of the line to the supervisor.

    `seat`: a number that no other living worker has. `shared`: a directory of all workers. `store`:
    the URL of the supervisor's embedded store, if it has one. `successor`: other workers have
    served before this one. `beside`: others serve now.
    """

    data: tuple[int, ...]
    admin: tuple[int, ...]
    line: int
    seat: int
    shared: str
    store: str | None
    successor: bool
    beside: bool = False

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (*self.data, *self.admin, self.line)

    def variable(self) -> dict[str, str]:
        return {_VARIABLE: json.dumps(asdict(self))}


def take(environ: MutableMapping[str, str]) -> Handover | None:
    """Return what this process was handed; None: it has no supervisor. It is removed from the
    environment, so that child processes do not inherit it.

    A supervisor goes on when another version is installed, and starts workers of that one: it may
    hand over fields that are not known here, or lack those with a default."""
    text = environ.pop(_VARIABLE, None)
    if text is None:
        return None
    known = {one.name for one in fields(Handover)}
    given = {name: value for name, value in json.loads(text).items() if name in known}
    return Handover(**{**given, "data": tuple(given["data"]), "admin": tuple(given["admin"])})


def opened(descriptors: Iterable[int]) -> tuple[socket.socket, ...]:
    """Return the inherited sockets, no longer inheritable."""
    sockets = tuple(socket.socket(fileno=number) for number in descriptors)
    for one in sockets:
        one.set_inheritable(False)
    return sockets
