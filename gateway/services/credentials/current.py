"""The credentials of a process as the data plane sees them: from memory, without decoys."""

from collections.abc import Callable, Iterable, Mapping

from gateway.client.sync import Report, Sync, UnavailableError
from gateway.domain.credentials import TYPES, Credential, CredentialId
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.mentions import unmet
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.log import log


class LiveCredentials:
    """This process's credentials. `wall`: Unix seconds by Redis' clock, which ends graces. Members
    without a docstring are as in `Sync`."""

    def __init__(self, sync: Sync, wall: Callable[[], float]) -> None:
        self._sync = sync
        self._wall = wall
        self._known: Mapping[CredentialId, Credential] = {}
        self._known_at = -1

    @property
    def ready(self) -> bool:
        return self._sync.ready

    @property
    def age(self) -> float:
        """Seconds since the vault last answered; infinite before the first answer."""
        return self._sync.age()

    @property
    def generation(self) -> int:
        return self._sync.generation

    @property
    def last_error(self) -> str:
        return self._sync.last_error

    @property
    def broken(self) -> Mapping[CredentialId, str]:
        return self._sync.broken

    @property
    def known(self) -> Mapping[CredentialId, Credential]:
        """All credentials but decoys, which nobody is to find."""
        if self._known_at != self._sync.generation:
            everything = self._sync.known
            self._known = {name: one for name, one in everything.items() if not _is_decoy(one)}
            self._known_at = self._sync.generation
        return self._known

    def is_decoy(self, name: CredentialId) -> bool:
        found = self._sync.known.get(name)
        return found is not None and _is_decoy(found)

    @property
    def gone(self) -> Mapping[CredentialId, int]:
        return self._sync.gone

    async def check(self) -> bool:
        return await self._sync.check()

    async def changed(self, seconds: float) -> bool:
        return await self._sync.changed(seconds)

    async def freshen(self, ids: tuple[CredentialId, ...]) -> None:
        """Ask the vault now if one of these must be fresher than it is; otherwise do nothing.

        Denied(credential_unavailable) if the vault had to be asked and did not answer.
        """
        try:
            await self._sync.freshen(ids)
        except UnavailableError as problem:
            raise unavailable(problem) from None

    async def try_freshen(self, ids: tuple[CredentialId, ...]) -> None:
        """Like `freshen`, for callers that can do without the credentials that fail."""
        for name in ids:
            try:
                await self._sync.freshen((name,))
            except UnavailableError as problem:
                log.warning("credential_unavailable", reason=str(problem))

    def now(self) -> float:
        """Return Unix seconds by the clock that ends grace periods."""
        return self._wall()

    def usable(self, name: CredentialId) -> bool:
        """Whether `find` would find it."""
        try:
            return not _is_decoy(self._sync.get(name))
        except UnavailableError:
            return False

    async def check_usable(self, ids: Iterable[CredentialId]) -> None:
        """Raise Denied(credential_unavailable) if one of these cannot be used."""
        for name in ids:
            if not self.usable(name):
                raise lacking(name)

    def find(self, name: CredentialId) -> Credential:
        """Return the whole credential as it is known now.

        Denied(credential_unavailable) if it is missing, broken or too stale. Its values are in
        `current` and `previous_at(now)`.
        """
        try:
            found = self._sync.get(name)
        except UnavailableError as problem:
            raise unavailable(problem, name) from None
        if _is_decoy(found):
            denied = unavailable(f"There is no credential '{name}'.", name)
            denied.decoy = str(name)
            raise denied
        return found

    def problems(self, policies: Policies) -> tuple[Problem, ...]:
        """Return the mentions of credentials that `policies` cannot use, as far as is known now."""
        if not self.ready:
            return ()
        broken = dict.fromkeys(map(str, self.broken))
        known = {str(c.id): (c.type, tuple(c.current.fields)) for c in self._sync.known.values()}
        return unmet(policies.mentions, broken | known)


def log_report(report: Report) -> None:
    """Log what a sync reports: names and reasons, never values."""
    if report.error:
        log.warning("credentials_unchecked", reason=report.error)
    if report.recovered:
        log.info("credentials_checked_again")
    if report.changed or report.removed:
        log.info(
            "credentials_changed",
            changed=[str(name) for name in report.changed],
            removed=[str(name) for name in report.removed],
        )
    for reason in report.broken.values():
        log.error("credential_broken", reason=reason)


def _is_decoy(credential: Credential) -> bool:
    return TYPES[credential.type].decoy


def unavailable(reason: object, name: CredentialId | None = None) -> Denied:
    """Log the reason and return the refusal. It does not tell the reason, but which of the user's
    own credentials is meant."""
    log.warning("credential_unavailable", reason=str(reason))
    return lacking(name) if name and name.owner else Denied(Code.CREDENTIAL_UNAVAILABLE)


def lacking(name: CredentialId) -> Denied:
    """Return the refusal of a call that needs this credential, by name; the same for a decoy."""
    whose, advice = "", "have it added"
    if name.owner:
        whose = f" of user '{name.owner}'"
        advice = "let the user enter it at a link of 'gateway users link'"
    return Denied(
        Code.CREDENTIAL_UNAVAILABLE,
        f"This needs the credential '{name.name}'{whose}, which is missing or cannot be used: "
        f"{advice}.",
        fields={"credential": str(name)},
    )
