"""Sessions at tool servers, their events, and tasks, under sealed ids for their owner alone."""

from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from gateway.crypto.sessions import Owner, SessionSeal
from gateway.domain.errors import Code, Denied, StoreError
from gateway.domain.settings import Settings
from gateway.log import log
from gateway.store.shared_secret import shared_secret


class ToolSessions:
    """`secrets`: known to all workers and nobody else; without any, `shared` fetches one."""

    def __init__(self, secrets: Sequence[bytes], shared: Callable[[], Awaitable[bytes]]) -> None:
        self._shared = shared
        self._made = SessionSeal(secrets) if secrets else None

    async def seal(self, own: str, owner: Owner) -> str:
        """Return the id that `owner` is given, the same each time; Denied(store_unavailable)."""
        return (await self._seal()).seal(own, owner)

    async def open(self, sealed: str, owner: Owner) -> str | None:
        """Return what the id stands for; None if it is not `owner`'s. Denied(store_unavailable)."""
        return (await self._seal()).open(sealed, owner)

    async def _seal(self) -> SessionSeal:
        if self._made is None:
            try:
                self._made = SessionSeal([await self._shared()])
            except StoreError as problem:
                log.warning("store_unavailable", reason=str(problem))
                raise Denied(Code.STORE_UNAVAILABLE, retry_after=1) from None
        return self._made


def open_tool_sessions(settings: Settings, client: Redis) -> ToolSessions:
    """Return sessions sealed with master keys and peppers, else with a secret in Redis."""

    async def shared() -> bytes:
        return await shared_secret(client, f"{settings.store.prefix}tools:seal")

    return ToolSessions((*settings.vault.master_keys, *settings.peppers), shared)
