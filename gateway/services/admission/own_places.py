"""Places that the gateway itself answers at, as `explain` describes them, and what each needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.domain.errors import Code, Denied, not_allowed
from gateway.domain.keys.scopes import DEFAULT_ACTION, Grants, Scope
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.http.request import RequestHead
from gateway.protocol.models.request import MODELS_PREFIX, ModelPath, read_path
from gateway.protocol.pull import CREDENTIALS_PATH, read_pull
from gateway.services.admission.locate import (
    CONNECT_PREFIX,
    NO_SUCH_MODEL,
    READING,
    Located,
    check_reading,
    find_callee,
    locate_pull,
)
from gateway.services.admission.steps import Found

HEALTH_PATHS = frozenset({b"/livez", b"/readyz"})
_ADMIN, _CONSOLE, _METRICS = b"/admin/", b"/console", b"/metrics"

# Returns the names of `gateway/…` scopes, any of which is enough; Denied if nothing is there.
PowersAt = Callable[[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """`what` is answered there, with `facts` for its placeholders. `keyless`: no key is needed.

    Otherwise a living key is needed, with any of `powers`, if there are some, and with the scope
    `listed`, for one of the models. `denied`: what is wrong with the place, revealed only to a
    caller with a living key. `located`: the request is admitted like a call, including limits.
    """

    what: Found
    keyless: bool = False
    located: Located | None = None
    powers: tuple[str, ...] = ()
    listed: Scope | None = None
    denied: Denied | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def missing(self, grants: Grants) -> Denied | None:
        """Return what stands against a living key with `grants`."""
        if self.denied is not None:
            return self.denied
        needed = [Scope("gateway", power, power) for power in self.powers]
        if needed and not any(map(grants.allow, needed)):
            names = " or ".join(f"gateway/{power}" for power in self.powers)
            required = {"required_scope": f"gateway/{self.powers[0]}"}
            return Denied(Code.SCOPE_DENIED, f"This needs a key with {names}.", fields=required)
        if self.listed is not None and not grants.allow(self.listed):
            return _no_model()
        return None


def own_place(head: RequestHead, policies: Policies, powers_at: PowersAt) -> OwnPlace | None:
    """Return the gateway's own place, or None if the request is for an agent, service, model or
    tool. Denied as the place itself would deny."""
    path = head.target.path
    if path in HEALTH_PATHS:
        check_reading(head)
        return OwnPlace(Found.HEALTH, keyless=True)
    if path.startswith(CONNECT_PREFIX):
        return OwnPlace(Found.CONNECT, keyless=True)
    if head.host in policies.by_host:
        return None
    if path == CREDENTIALS_PATH:
        return OwnPlace(Found.PULL, located=_pull_of(head))
    if path.startswith(MODELS_PREFIX):
        return _catalogue(head, read_path(path), policies)
    if find_callee(head, policies)[0] is None:
        return _of_operators(head, powers_at)
    return None


def _pull_of(head: RequestHead) -> Located:
    try:
        return locate_pull(head, read_pull(head))
    except Denied as malformed:
        # The caller is identified first, as everywhere.
        return Located(None, CREDENTIALS_PATH, denied=malformed)


def _catalogue(head: RequestHead, asked: ModelPath, policies: Policies) -> OwnPlace | None:
    if asked.listed is None:
        return None
    denied = None if head.method in READING else not_allowed(READING)
    located = Located(None, b"", any_key=True)
    if not asked.listed:
        return OwnPlace(Found.CATALOGUE, located=located, denied=denied)
    model = policies.models.get(asked.listed)
    if model is None or model.dialect is not asked.dialect:
        return OwnPlace(Found.NO_MODEL, denied=denied or _no_model())
    scope = Scope("models", model.name, DEFAULT_ACTION)
    facts = {"model": model.name}
    return OwnPlace(Found.ONE_MODEL, located=located, listed=scope, denied=denied, facts=facts)


def _of_operators(head: RequestHead, powers_at: PowersAt) -> OwnPlace | None:
    path = head.target.path
    if path.startswith(_ADMIN):
        try:
            return OwnPlace(Found.ADMIN, powers=powers_at(head.method, path.decode("ascii")))
        except Denied as denied:
            return OwnPlace(Found.ADMIN, denied=denied)
    if path == _METRICS:
        check_reading(head)
        return OwnPlace(Found.METRICS, powers=("read", "admin"))
    if path == _CONSOLE or path.startswith(_CONSOLE + b"/"):
        return OwnPlace(Found.CONSOLE, keyless=True)
    return None


def _no_model() -> Denied:
    return Denied(Code.NOT_FOUND, NO_SUCH_MODEL)
