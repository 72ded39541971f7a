"""The request of an agent that pulls credentials."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from gateway.domain.credentials import is_credential_name
from gateway.domain.errors import bad_request
from gateway.protocol.http.request import RequestHead, values_of

CREDENTIALS_PATH = b"/v1/credentials"
MOST_NAMES = 200
LONGEST_WAIT = 60.0

_NUMBER = re.compile(r"\d{1,16}", re.ASCII)
_SECONDS = re.compile(r"\d{1,4}(?:\.\d{1,3})?", re.ASCII)
_PREFERRED = re.compile(rb"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])", re.IGNORECASE)
# Any entity tag. Those of answers to a pull are revisions.
_TAG = re.compile(rb'"([^"]*)"')
_REVISION = re.compile(rb"\d{1,16}")
# Above all revisions: `*` matches every answer, so nothing is newer.
_ANY = 10**16


@dataclass(frozen=True, slots=True)
class Pulling:
    """`since` None: everything is asked for. `wait`: seconds for which an answer may be held back.
    `of_users`: some of the names are of users' own credentials.
    """

    names: tuple[str, ...]
    since: int | None
    wait: float
    of_users: bool = False


def read_pull(head: RequestHead) -> Pulling:
    """Return what `head` asks for; raise Denied(bad_request) if that makes no sense."""
    parameters = _parameters(head.target.query)
    names = tuple(dict.fromkeys(name for name in parameters.get("names", "").split(",") if name))
    if not names:
        raise bad_request("Say which credentials: /v1/credentials?names=openai_key,crm")
    if len(names) > MOST_NAMES:
        raise bad_request(f"At most {MOST_NAMES} names can be asked for at once.")
    shared = tuple(name for name in names if not name.startswith("user/"))
    if not all(is_credential_name(name) for name in shared):
        raise bad_request("A credential's name is 2 to 63 of the characters a-z 0-9 _.")
    return Pulling(
        shared, _since(parameters, head), _wait(parameters, head), len(shared) != len(names)
    )


def _parameters(query: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in query.removeprefix(b"?").decode("ascii").split("&"):
        name, _, value = item.partition("=")
        if name in found:
            raise bad_request("A parameter is there twice. Send it once.")
        found[name] = unquote(value, errors="replace")
    return found


def _since(parameters: dict[str, str], head: RequestHead) -> int | None:
    text = parameters.get("since", "")
    if text:
        if not _NUMBER.fullmatch(text):
            raise bad_request("'since' is the revision of an earlier answer.")
        return int(text)
    return _newest(b", ".join(values_of(head.headers, b"if-none-match")).strip())


def _newest(tags: bytes) -> int | None:
    """Return the highest revision in an If-None-Match, None if there is none. Its comparison is
    weak (RFC 9110 section 13.1.2), so that `W/` makes no difference."""
    if tags == b"*":
        return _ANY
    revisions = (int(tag) for tag in _TAG.findall(tags) if _REVISION.fullmatch(tag))
    return max(revisions, default=None)


def _wait(parameters: dict[str, str], head: RequestHead) -> float:
    text = parameters.get("wait", "")
    if text:
        if not _SECONDS.fullmatch(text):
            raise bad_request("'wait' is a number of seconds.")
        return min(float(text), LONGEST_WAIT)
    preferred = _PREFERRED.search(b", ".join(values_of(head.headers, b"prefer")))
    return min(float(preferred[1]), LONGEST_WAIT) if preferred else 0.0
