"""What the gatekeeper says of a request that it lets in."""

from dataclasses import dataclass, field

from gateway.domain.facts import fact
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.scopes import Grants
from gateway.store.admission import Lease

NO_GRANTS = Grants(())


@fact
class Passage:
    """An admitted request: who it is for the agent, and what the caller is told of its limits.

    `proven`: the hash that the secret matched. `identity` and `limits`: whole header lines, each
    ended by CRLF. `lease`: what has to be given back once the answer has ended. `tokens`: limits
    to charge with what the answer took. `grants`: what else the key may do. `shadow`: the code with
    which a rule that is tried out would have refused it; empty: none would have.
    """

    key_id: str
    consumer: str
    proven: str = field(repr=False)
    identity: bytes
    limits: bytes
    lease: Lease | None = None
    tokens: tuple[NamedLimit, ...] = ()
    grants: Grants = NO_GRANTS
    shadow: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose key a request came with, what it may do, for which users. `proven`: the hash that it
    matched."""

    key_id: str
    consumer: str
    grants: Grants
    users: str
    proven: str = field(repr=False)
