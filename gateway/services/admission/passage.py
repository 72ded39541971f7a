"""The gatekeeper's result for an admitted request."""

from dataclasses import dataclass, field

from gateway.domain.facts import fact
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.scopes import Grants
from gateway.store.admission import Lease

NO_GRANTS = Grants(())


@fact
class Passage:
    """An admitted request: its identity for the agent, and its limits for the caller.

    `proven`: the hash that the secret matched. `identity` and `limits`: whole header lines, each
    ended by CRLF. `lease`: has to be given back once the answer has ended. `tokens`: limits to
    charge with the tokens that the answer took. `grants`: what else the key may do. `shadow`: the
    code with which a rule with `enforce: false` would have refused it; empty: none would have.
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
    """Whose key a request came with, and what it may do. `proven`: the hash that it matched."""

    key_id: str
    consumer: str
    grants: Grants
    users: str
    proven: str = field(repr=False)
