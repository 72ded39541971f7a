"""One-time links in Redis: `gw:link:<digest>`, a hash that expires with the link. Only the digest
of a token is stored."""

from collections.abc import Sequence

from redis.asyncio import Redis

from gateway.domain.links import LINK_SECONDS, Link, RequestedCredential
from gateway.store.commands import as_answer, ask_all, command, run, value_or_logged
from gateway.store.connections.scan import scan


class LinkStore:
    """Every method raises StoreError if Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def add(self, digest: str, link: Link, created_by: str) -> int:
        """Store a link; return the Unix second at which it ends."""
        wanted = " ".join(f"{one.name}:{one.type}" for one in link.wanted)
        pairs = ("user", link.user, "wanted", wanted, "created_by", created_by)
        words = [str(LINK_SECONDS), *pairs]
        return int(await run(self._client, "set_for", [self._name(digest)], words))

    async def get(self, digest: str) -> Link | None:
        found = await command(self._client, "HMGET", self._name(digest), *_FIELDS)
        return _link(found)

    async def use(self, digest: str, session: str) -> bool:
        """Bind the link to the browser that has `session`; False if another browser has it."""
        return bool(await run(self._client, "link_use", [self._name(digest)], [session]))

    async def remove_all_of(self, user: str) -> int:
        """Remove this user's links; return how many were open."""
        removed = 0
        for name, (link, _) in (await self._all()).items():
            if link.user == user:
                removed += int(await command(self._client, "DEL", name))
        return removed

    async def all(self) -> list[tuple[Link, int]]:
        """Return every open link, and for how many more seconds it is open."""
        return list((await self._all()).values())

    async def _all(self) -> dict[bytes, tuple[Link, int]]:
        found = {}
        async for names in scan(self._client, f"{self._prefix}link:*"):
            links = await ask_all(self._client, [("HMGET", name, *_FIELDS) for name in names])
            ttls = await ask_all(self._client, [("TTL", name) for name in names])
            for name, answer, ttl in zip(names, links, ttls, strict=True):
                # A strange value that somebody stored by hand must neither hide the other links nor
                # keep them open.
                values = value_or_logged(name.decode(errors="replace"), answer)
                link, seconds = values and _link(values), as_answer(ttl)
                if link is not None and seconds > 0:
                    found[name] = link, seconds
        return found

    def _name(self, digest: str) -> str:
        return f"{self._prefix}link:{digest}"


_FIELDS = ("user", "wanted", "session")


def _link(values: Sequence[bytes | None]) -> Link | None:
    user, wanted, session = ((value or b"").decode(errors="replace") for value in values)
    items = [item.partition(":") for item in wanted.split()]
    if not user or not items:
        return None
    return Link(user, tuple(RequestedCredential(name, kind) for name, _, kind in items), session)
