"""Users connect themselves: links are made by operators, and used once, by one browser."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.crypto.draw import TOKEN_LENGTH, digest, draw, is_token
from gateway.domain.audit.record import Named
from gateway.domain.credentials import CredentialId
from gateway.domain.links import Link, Wanted
from gateway.services.audit.acts import Acts
from gateway.store.links import LinkStore


@dataclass(frozen=True, slots=True)
class NewLink:
    """`token`: shown once; Redis has only its digest. `expires_at` in Unix seconds."""

    token: str = field(repr=False)
    user: str
    wanted: tuple[Wanted, ...]
    expires_at: int

    @property
    def path(self) -> str:
        return f"/connect/{self.token}"

    def url(self, data_listener: str) -> str:
        """What the user opens, where the data listener is reached at this URL."""
        return data_listener.rstrip("/") + self.path


def by_user(names: Iterable[CredentialId], users: Iterable[str]) -> dict[str, list[str]]:
    """What each user has brought, in the order of users; of `users` also who has nothing yet."""
    found: dict[str, list[str]] = {user: [] for user in users}
    for name in names:
        if name.owner:
            found.setdefault(name.owner, []).append(name.name)
    return {user: sorted(theirs) for user, theirs in sorted(found.items())}


class Links:
    def __init__(self, store: LinkStore) -> None:
        self._store = store

    async def make(self, user: str, wanted: tuple[Wanted, ...], acts: Acts) -> NewLink:
        link = Link(user, wanted)
        named = tuple(Named(str(link.id_of(one)), 0) for one in wanted)
        await acts.record("user.link", user=user, credentials=named)
        token = draw(TOKEN_LENGTH)
        return NewLink(token, user, wanted, await self._store.add(digest(token), link, acts.actor))

    async def end_all_of(self, user: str, acts: Acts) -> int:
        """How many links of this user were open."""
        await acts.record("user.unlink", user=user)
        return await self._store.remove_all_of(user)

    async def waiting(self) -> dict[str, int]:
        """Users whose links are open, and for how many seconds; of several, the last to end."""
        found: dict[str, int] = {}
        for link, seconds in await self._store.all():
            found[link.user] = max(seconds, found.get(link.user, 0))
        return found

    async def open(self, token: str, session: str) -> Link | None:
        """The link, for a browser that holds `session` (empty: none yet); None: there is none, it
        has ended, or it is another browser's."""
        if not is_token(token):
            return None
        link = await self._store.get(digest(token))
        if link is None or not link.session:
            return link
        return link if session and hmac.compare_digest(link.session, digest(session)) else None

    async def use(self, token: str, link: Link, session: str) -> str | None:
        """The session whose link it is from now on; None: it is another's already. It is a new one
        at first: what a browser comes with may have been planted there."""
        session = session if link.session else draw(TOKEN_LENGTH)
        return session if await self._store.use(digest(token), digest(session)) else None
