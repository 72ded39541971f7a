"""`SyncCredentials`: the same for programs without an event loop."""

import asyncio
import math
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import NoReturn, Self

from gateway.client.changes import SourceError
from gateway.client.credentials import ENTERED, UNPICKLED, Credentials
from gateway.client.secret import Secret
from gateway.client.sync import FIRST_RETRY
from gateway.domain.backoff import pause_after

# However often it polls while all is well.
LONGEST_RETRY = 15.0
# How long the first use after a fork waits for news before it takes what was known.
PATIENCE_SECONDS = 2.0
# One follower at a time, and no fork meanwhile: it would copy the locked lock, and nobody in the
# child would release it.
_FOLLOWING = threading.Lock()
os.register_at_fork(
    before=_FOLLOWING.acquire,
    after_in_parent=_FOLLOWING.release,
    after_in_child=_FOLLOWING.release,
)


class SyncCredentials:
    """Like `Credentials`, with `with` and the same properties. A thread of its own keeps them up to
    date.

    `on_change` is called in that thread. A forked process lacks the thread, and starts one of its
    own when it first uses a credential.
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
        # Read once: an iterator could not be read again after a fork. A text is refused below.
        names = names if isinstance(names, str) else tuple(names)
        self._open = partial(Credentials, url, key, names, poll=poll, ssl_context=ssl_context)
        self._credentials = self._open(wait=wait, on_change=on_change)
        self._on_change = on_change
        self._longest_retry = max(LONGEST_RETRY, poll)
        self._process = os.getpid()
        self._follower: threading.Thread | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._entered = threading.Event()
        self._left = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError(ENTERED)
        self._process, self._left, self._entered = os.getpid(), False, threading.Event()
        self._loop = self._task = self._failure = None
        # A daemon, because a program may end without leaving the context.
        self._thread = threading.Thread(target=self._run, name="gateway-credentials", daemon=True)
        self._thread.start()
        try:
            self._entered.wait()
        except BaseException:
            # If this is interrupted, `__exit__` is never called.
            self._leave()
            raise
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def __getitem__(self, name: str) -> Secret:
        secret = self._live[name]
        return Secret(name, lambda: self._live.find(secret.name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._credentials)

    def __len__(self) -> int:
        return len(self._credentials)

    def __contains__(self, name: object) -> bool:
        return name in self._credentials

    def __reduce__(self) -> NoReturn:
        raise TypeError(UNPICKLED)

    def __repr__(self) -> str:
        return f"Sync{self._credentials!r}"

    @property
    def age(self) -> float:
        return self._live.age

    @property
    def last_error(self) -> str:
        return self._live.last_error

    @property
    def broken(self) -> Mapping[str, str]:
        return self._live.broken

    @property
    def _live(self) -> Credentials:
        # Its own thread must not wait for callers that wait for it.
        if self._process != os.getpid() and threading.current_thread() is not self._follower:
            self._follow()
        return self._credentials

    def _follow(self) -> None:
        """Start a new thread after a fork, which copies what is known but no thread."""
        with _FOLLOWING:
            if self._process == os.getpid():
                return
            if self._entered.is_set() and not self._left:
                self._loop = self._task = None
                self._entered = threading.Event()
                # A daemon, because the child may end without leaving the context that its parent
                # entered.
                self._follower = threading.Thread(
                    target=asyncio.run, args=(self._follow_anew(),), daemon=True
                )
                self._follower.start()
                self._entered.wait(PATIENCE_SECONDS)
            self._process = os.getpid()

    async def _follow_anew(self) -> None:
        """Keep up to date after a fork. What was known before it serves until news comes."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        failures = 0
        while not self._left:
            try:
                async with self._opened_anew() as newest:
                    self._credentials = newest
                    self._entered.set()
                    await asyncio.Event().wait()
            except SourceError:
                self._entered.set()
                failures += 1
                await asyncio.sleep(pause_after(failures, FIRST_RETRY, self._longest_retry))

    def _opened_anew(self) -> Credentials:
        """Return new credentials. They are in place before `on_change` is told of a change."""

        def tell(name: str) -> None:
            self._credentials = newest
            if self._on_change is not None:
                self._on_change(name)

        newest = self._open(wait=math.inf, on_change=tell)
        return newest

    def _run(self) -> None:
        try:
            asyncio.run(self._hold_open())
        except asyncio.CancelledError:
            # `_leave` ends it so.
            pass
        except BaseException as problem:  # noqa: BLE001 (`__enter__` raises it)
            self._failure = problem
        finally:
            self._entered.set()

    async def _hold_open(self) -> None:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._left:
            return
        async with self._credentials:
            self._entered.set()
            await asyncio.Event().wait()

    def _leave(self) -> None:
        self._left = True
        if self._loop is not None and self._task is not None:
            # A loop that has ended by itself needs no cancelling.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not None:
            self._thread.join()
