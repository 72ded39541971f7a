"""The vault: credentials that cannot be decrypted, and those that expire."""

from collections.abc import Iterable

from gateway.domain.units import counted
from gateway.services.credentials.views import CredentialView, State
from gateway.services.diagnosis.findings import Finding, Level, some

_ADVICE = (
    (
        State.BROKEN,
        Level.WRONG,
        "cannot be opened",
        "look with 'gateway credentials show', and set them anew.",
    ),
    (
        State.EXPIRED,
        Level.WRONG,
        "expired, and used all the same",
        "get new ones, and 'gateway credentials rotate'.",
    ),
    (
        State.EXPIRING,
        Level.WARN,
        "will expire within 14 days",
        "get new ones, and 'gateway credentials rotate'.",
    ),
)


def credentials_found(views: Iterable[CredentialView]) -> tuple[Finding, ...]:
    """Return the findings about the vault; none if it is empty."""
    by_state: dict[State, list[str]] = {}
    for view in views:
        by_state.setdefault(view.state, []).append(view.name)
    if not by_state:
        return ()
    count = sum(map(len, by_state.values()))
    found = [Finding("vault", Level.OK, f"{counted(count, 'credential')} in the vault.")]
    for state, level, what, advice in _ADVICE:
        if names := by_state.get(state, []):
            sentence = f"{counted(len(names), 'credential')} {what} ({some(names)}): {advice}"
            found.append(Finding("vault", level, sentence))
    return tuple(found)
