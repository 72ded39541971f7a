"""Links for users to enter their own credentials: made by operators, used once, by one browser."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.crypto.draw import TOKEN_LENGTH, digest, draw, is_token
from gateway.domain.audit.record import Named
from gateway.domain.credentials import CredentialId
from gateway.domain.links import Link, RequestedCredential
from gateway.services.audit.acts import Acts
from gateway.store.links import LinkStore


@dataclass(frozen=True, slots=True)
class NewLink:
    """`token`: shown once; Redis holds only its digest. `expires_at` in Unix seconds."""

    token: str = field(repr=False)
    user: str
    wanted: tuple[RequestedCredential, ...]
    expires_at: int

    @property
    def path(self) -> str:
        return f"/connect/{self.token}"

    def url(self, data_listener: str) -> str:
        """Return the URL that the user opens, with the data listener at `data_listener`."""
        return data_listener.rstrip("/") + self.path


def by_user(names: Iterable[CredentialId], users: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of each user's own credentials, in the order of users, including those of
    `users` who have none."""
    found: dict[str, list[str]] = {user: [] for user in users}
    for name in names:
        if name.owner:
            found.setdefault(name.owner, []).append(name.name)
    return {user: sorted(theirs) for user, theirs in sorted(found.items())}


class Links:
    def __init__(self, store: LinkStore) -> None:
        self._store = store

    async def make(self, user: str, wanted: tuple[RequestedCredential, ...], acts: Acts) -> NewLink:
        link = Link(user, wanted)
        named = tuple(Named(str(link.id_of(one)), 0) for one in wanted)
        await acts.record("user.link", user=user, credentials=named)
        token = draw(TOKEN_LENGTH)
        return NewLink(token, user, wanted, await self._store.add(digest(token), link, acts.actor))

    async def end_all_of(self, user: str, acts: Acts) -> int:
        """End this user's links; return how many were open."""
        await acts.record("user.unlink", user=user)
        return await self._store.remove_all_of(user)

    async def waiting(self) -> dict[str, int]:
        """Return the users with open links, and how many seconds until their last one ends."""
        found: dict[str, int] = {}
        for link, seconds in await self._store.all():
            found[link.user] = max(seconds, found.get(link.user, 0))
        return found

    async def open(self, token: str, session: str) -> Link | None:
        """Return the link, for a browser that holds `session` (empty: none yet). None: there is
        none, it has ended, or it belongs to another browser."""
        if not is_token(token):
            return None
        link = await self._store.get(digest(token))
        if link is None or not link.session:
            return link
        # As bytes, because what somebody wrote there by hand may not be ASCII.
        owner, own = link.session.encode(), digest(session).encode()
        return link if session and hmac.compare_digest(owner, own) else None

    async def use(self, token: str, link: Link, session: str) -> str | None:
        """Return the session that owns the link from now on; None: it belongs to another one. The
        first use draws a new session, because the browser's own may have been planted there."""
        session = session if link.session else draw(TOKEN_LENGTH)
        return session if await self._store.use(digest(token), digest(session)) else None
