"""`Credentials`: what an agent needs, in memory and up to date."""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn, Self

import aiohttp

from gateway.client.secret import Secret
from gateway.client.source import PullSource
from gateway.client.sync import Report, Sync
from gateway.domain.credentials import Credential, CredentialId, is_credential_name
from gateway.domain.keys.key import masked

# The gateway holds no answer back for longer, and a change should find a poll waiting.
LONGEST_POLL = 60.0

ENTERED = "These credentials are in a 'with' block already: use them there, or open others."
UNPICKLED = "Credentials hold the key, so they are not copied or pickled: open others."
# What can be sent in a header, without blanks.
_WORD = re.compile(r"[!-~]+")

log = logging.getLogger("gateway.client")


class Credentials:
    """Fetched on entry, kept up to date until the exit; a change arrives within a second or two.

        async with Credentials(url, key, names=["openai_key"]) as credentials:
            OpenAI(api_key=credentials["openai_key"].reveal())

    `url` of the gateway, `key` with the scope `gateway/credentials:openai_key`, or a function that
    returns the key, called before each check, so that the key can be rotated too. `poll`: seconds
    between two checks, give or take a fifth, and 60 at most. `wait`: seconds for which entry tries
    while the gateway cannot be asked. `on_change` is told the name of what was changed or removed.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        names: Iterable[str],
        *,
        poll: float = 15.0,
        wait: float = 30.0,
        on_change: Callable[[str], None] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if isinstance(names, str):
            # Not quoted: the key may have been given in its place.
            raise ValueError("'names' is a list, such as names=['openai_key']")
        self._names = tuple(dict.fromkeys(names))
        bad = [masked(name) for name in self._names if not is_credential_name(name)]
        if bad or not self._names:
            raise ValueError(f"These are no names of shared credentials: {bad or 'none given'}")
        self._url = _checked_url(url)
        self._key = key if callable(key) else checked_key(key)
        self._poll = poll
        self._wait = wait
        self._on_change = on_change
        self._ssl = ssl_context
        self._sync: Sync | None = None
        self._running: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Fetch them; SourceError if that takes too long, or at once if the key is refused."""
        if self._session is not None and not self._session.closed:
            raise RuntimeError(ENTERED)
        connector = aiohttp.TCPConnector(ssl=self._ssl if self._ssl is not None else True)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        source = PullSource(self._session, self._url, self._read_key, self._names)
        self._sync = Sync(source, min(self._poll, LONGEST_POLL), self._log_report)
        try:
            await self._sync.first(self._wait)
        except BaseException:
            await self._session.close()
            raise
        self._running = asyncio.create_task(self._sync.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._running is not None:
                self._running.cancel()
                # If the task itself were awaited, its end could not be told from a cancellation of
                # the caller.
                await asyncio.wait({self._running})
        finally:
            if self._session is not None:
                await self._session.close()

    def __getitem__(self, name: str) -> Secret:
        """Return the secret. UnavailableError (a LookupError) if it cannot be had now; KeyError for
        a name that was not asked for."""
        if name not in self._names:
            raise KeyError(f"{name!r} is not among the names that were asked for")
        secret = Secret(name, lambda: self.find(name))
        self.find(name)
        return secret

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __reduce__(self) -> NoReturn:
        raise TypeError(UNPICKLED)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r}, names={list(self._names)})"

    @property
    def age(self) -> float:
        """Seconds since the last successful check."""
        return self._live.age()

    @property
    def last_error(self) -> str:
        """Why the last check failed; empty if it did not."""
        return self._live.last_error

    @property
    def broken(self) -> Mapping[str, str]:
        """Credentials that the gateway cannot vouch for now, with a sentence each."""
        return {str(name): reason for name, reason in self._live.broken.items()}

    async def changed(self, seconds: float) -> bool:
        """Wait at most this long for the next change; return whether one came. RuntimeError in an
        event loop that is not theirs, as in a test with a loop of its own."""
        if self._running is not None and self._running.get_loop() is not asyncio.get_running_loop():
            # It would hear of no change, and take the waiting away from the loop that does.
            raise RuntimeError("These credentials live in another event loop: wait there.")
        return await self._live.changed(seconds)

    def find(self, name: str) -> Credential:
        """Return the whole credential; UnavailableError if it cannot be had now."""
        return self._live.get(CredentialId(name))

    @property
    def _live(self) -> Sync:
        if self._sync is None:
            raise RuntimeError("Credentials are there inside of their 'with' block only.")
        return self._sync

    def _read_key(self) -> str:
        return self._key if isinstance(self._key, str) else checked_key(self._key())

    def _log_report(self, report: Report) -> None:
        if report.error:
            log.warning("Credentials could not be checked: %s", report.error)
        for reason in report.broken.values():
            log.error("%s", reason)
        for name in (*report.changed, *report.removed):
            log.info("Credential '%s' has changed.", name)
            self._call_back(str(name))

    def _call_back(self, name: str) -> None:
        """Call `on_change`. An error in it must not stop later changes from arriving."""
        if self._on_change is None:
            return
        try:
            self._on_change(name)
        except Exception:
            log.exception("on_change failed for credential '%s'.", name)


def checked_key(text: str) -> str:
    """Return the key in `text`; ValueError, which does not quote it, if there is none."""
    # Files often end with a line break.
    key = text.strip()
    if not _WORD.fullmatch(key):
        raise ValueError("'key' is one word that begins with 'agk_', and no 'Bearer' before it")
    return key


def _checked_url(url: str) -> str:
    if any(mark in url for mark in "@?#"):
        # Not quoted: it may hold a password.
        raise ValueError("'url' has no user, password, query or fragment")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{masked(url)!r} is no URL such as http://127.0.0.1:8080")
    return url
