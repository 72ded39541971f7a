"""Sessions of the console: a random token in the browser, its digest in Redis, and the key's
record, which is checked at every request."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.admin.backend import Backend
from gateway.admin.routing import Caller
from gateway.crypto.draw import TOKEN_LENGTH, digest, draw, is_token
from gateway.domain.errors import StoreError
from gateway.domain.keys.judgement import why_dead
from gateway.domain.keys.scopes import parse_all
from gateway.services.admission.authenticate import live_hashes
from gateway.services.admission.passage import Identity
from gateway.store.commands import command

SESSION_SECONDS = 3600
COOKIE = "gateway_console"


@dataclass(frozen=True, slots=True)
class Session:
    """`csrf`: a token in every form of this session, which other sites cannot know."""

    caller: Caller
    csrf: str = field(repr=False)


class Sessions:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def begin(self, identity: Identity) -> str:
        """Begin a session and return its token. It ends with the secret that was proven."""
        token = draw(TOKEN_LENGTH)
        about = f"{identity.key_id} {digest(identity.proven)}"
        words = ("SET", self._name(token), about, "EX", SESSION_SECONDS)
        await command(self._backend.client, *words)
        return token

    async def get(self, token: str) -> Session | None:
        """Return the session, or None if it or its key has ended."""
        if not is_token(token):
            return None
        found = await command(self._backend.client, "GET", self._name(token))
        if found is None:
            return None
        key_id, _, proven = found.decode(errors="replace").partition(" ")
        keys = self._backend.key_reader()
        record, now = await keys.get(key_id), await keys.now()
        if record is None or why_dead(record, now) is not None:
            return None
        if all(digest(one.phc) != proven for one in live_hashes(record, now)):
            return None
        grants, still = parse_all(record.scopes), self._still(token)
        caller = Caller(record.id, record.told_consumer, grants, still)
        return Session(caller, digest(f"csrf {token}"))

    def _still(self, token: str) -> Callable[[], Awaitable[Caller | None]]:
        async def still() -> Caller | None:
            try:
                session = await self.get(token)
            except StoreError:
                return None
            return None if session is None else session.caller

        return still

    async def end(self, token: str) -> None:
        await command(self._backend.client, "DEL", self._name(token))

    def _name(self, token: str) -> str:
        return f"{self._backend.prefix}session:{digest(token)}"


def is_csrf(session: Session, given: str) -> bool:
    return hmac.compare_digest(session.csrf.encode(), given.encode())
