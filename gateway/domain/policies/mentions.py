"""Checks of the credentials that policies mention against those that there are."""

from collections.abc import Iterable, Mapping

from gateway.domain.policies.problems import Problem
from gateway.domain.policies.references import missing, mistake
from gateway.domain.policies.snapshot import Mention

# The type and the names of the fields of each shared credential; None: it cannot be decrypted.
Known = Mapping[str, tuple[str, tuple[str, ...]] | None]


def unmet(mentions: Iterable[Mention], known: Known) -> tuple[Problem, ...]:
    """Return the mentions of credentials that do not exist or cannot be used there, in order.

    A user's own credential is known only when the user comes. A credential that cannot be decrypted
    exists: it must not block policies that need others, so only calls that need it are refused.
    """
    found = set()
    for mention in mentions:
        reference = mention.reference
        if reference.of_user:
            continue
        message = missing(reference)
        if reference.name in known:
            credential = known[reference.name]
            message = mistake(reference, *credential, mention.types) if credential else ""
        if message:
            found.add(Problem(mention.place, message))
    return tuple(sorted(found))
