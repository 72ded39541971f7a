"""Credentials of a process as the data plane sees them: from memory, and without decoys."""

from collections.abc import Callable, Mapping

from gateway.client.sync import Report, Sync, UnavailableError
from gateway.domain.credentials import TYPES, Credential, CredentialId
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.references import Reference, missing, mistake
from gateway.log import log


class LiveCredentials:
    """The credentials of this process. `wall`: Unix seconds by Redis' clock, which ends a grace."""

    def __init__(self, sync: Sync, wall: Callable[[], float]) -> None:
        self._sync = sync
        self._wall = wall
        self._known: Mapping[CredentialId, Credential] = {}
        self._known_at = -1

    @property
    def ready(self) -> bool:
        """Whether all were there once."""
        return self._sync.ready

    @property
    def age(self) -> float:
        """Seconds since the vault last answered; infinite before it ever did."""
        return self._sync.age()

    @property
    def generation(self) -> int:
        """Another one after every change of what is known."""
        return self._sync.generation

    @property
    def last_error(self) -> str:
        """Why the last check failed; empty: it did not."""
        return self._sync.last_error

    @property
    def broken(self) -> Mapping[CredentialId, str]:
        """What cannot be opened, a sentence each."""
        return self._sync.broken

    @property
    def known(self) -> Mapping[CredentialId, Credential]:
        """Without decoys, which nobody is to find."""
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
        """Ask the vault now; whether it answered."""
        return await self._sync.check()

    async def changed(self, seconds: float) -> bool:
        """Wait for the next change of any credential, at most so long; whether one came."""
        return await self._sync.changed(seconds)

    async def freshen(self, ids: tuple[CredentialId, ...]) -> None:
        """Ask the vault now if one of these must be fresher than it is; else nothing.

        Denied(credential_unavailable) where it had to be asked and did not answer.
        """
        try:
            await self._sync.freshen(ids)
        except UnavailableError as problem:
            raise unavailable(problem) from None

    async def try_freshen(self, ids: tuple[CredentialId, ...]) -> None:
        """The same, for whoever can do without those that cannot be had."""
        for name in ids:
            try:
                await self._sync.freshen((name,))
            except UnavailableError as problem:
                log.warning("credential_unavailable", reason=str(problem))

    def now(self) -> float:
        """Unix seconds, by which a grace ends."""
        return self._wall()

    def usable(self, name: CredentialId) -> bool:
        """Whether `find` would find it."""
        try:
            return not _is_decoy(self._sync.get(name))
        except UnavailableError:
            return False

    def find(self, name: CredentialId) -> Credential:
        """The whole credential, as it is known now.

        Denied(credential_unavailable) where it is missing, broken or too stale. `current` and
        `previous_at(now)` have the values.
        """
        try:
            found = self._sync.get(name)
        except UnavailableError as problem:
            raise unavailable(problem) from None
        if _is_decoy(found):
            denied = unavailable(f"There is no credential '{name}'.")
            denied.decoy = str(name)
            raise denied
        return found

    def problem_of(self, reference: Reference, types: tuple[str, ...] = ()) -> str:
        """Why a policy cannot mean this reference; empty where it can, or where nobody knows.

        A user's own credential is known only when the user comes. One that is broken is there, and
        must not hold up what needs others: whoever needs it is refused. `types`: the whole
        credential is meant, and has to be of one of these.
        """
        if reference.of_user or not self.ready:
            return ""
        name = CredentialId(reference.name)
        known = self.known.get(name)
        if known is None:
            return "" if name in self.broken else missing(reference)
        return mistake(reference, known.type, tuple(known.current.fields), types)


def tell_log(report: Report) -> None:
    """What a sync reports, as log events: names and reasons, never values."""
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


def id_of(reference: Reference, user: str | None) -> CredentialId:
    """Whose credential is meant; Denied where it is the user's own and nobody is named."""
    if not reference.of_user:
        return CredentialId(reference.name)
    if not user:
        raise Denied(
            Code.CREDENTIAL_UNAVAILABLE,
            "This needs a credential of the user it is for: name the user in X-User-Id.",
            headers=(("x-should-retry", "false"),),
        )
    return CredentialId(reference.name, user)


def _is_decoy(credential: Credential) -> bool:
    return TYPES[credential.type].decoy


def unavailable(reason: object) -> Denied:
    """The refusal; why, is for the log alone."""
    log.warning("credential_unavailable", reason=str(reason))
    return Denied(Code.CREDENTIAL_UNAVAILABLE)
