"""A program that gets credentials, and gets them again when they change."""

import asyncio
import math
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.client import Credentials, UnavailableError
from gateway.domain.errors import OperationError
from gateway.domain.policies.references import Reference

# Signals that are passed on to the program. Container images stop nginx by QUIT and httpd by WINCH.
FORWARDED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGQUIT, signal.SIGWINCH),
)
ENDING = (signal.SIGTERM, signal.SIGINT)
# One request to stop may arrive twice within this time: by a process group, or from `timeout`.
REPEAT_SECONDS = 1.0
# Kept from the program: with these it could read everything that the key may, or the whole vault.
OURS = (
    *("GATEWAY_KEY", "GATEWAY_KEY_FILE"),
    *("GATEWAY_MASTER_KEY", "GATEWAY_MASTER_KEY_FILE", "GATEWAY_PEPPER", "GATEWAY_PEPPER_FILE"),
    *("GATEWAY_REDIS_URL", "GATEWAY_ADMIN_REDIS_URL", "GATEWAY_VAULT_REDIS_URL"),
)
OWNER_ONLY = 0o600
# Between two attempts to write a file.
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Bindings:
    """Which credential goes into which variable or file. `replace`: overwrite files that exist."""

    variables: Mapping[str, Reference]
    files: Mapping[Path, Reference]
    replace: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        every = (*self.variables.values(), *self.files.values())
        return tuple(dict.fromkeys(reference.name for reference in every))


class Child:
    """The program, and what it was given.

    `on_change`: `restart`, `ignore`, or the name of a signal. `drain`: how many seconds the program
    may take to end before it is killed. `say`: reports what happens, never a value.
    """

    def __init__(
        self,
        command: Sequence[str],
        bindings: Bindings,
        on_change: str,
        drain: float,
        say: Callable[[str], None],
    ) -> None:
        self._command = command
        self._bindings = bindings
        self._on_change = on_change
        self._drain = drain
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()
        self._given: dict[Reference, str] = {}
        # Only files that this process has written are removed at the end.
        self._written: set[Path] = set()
        self._unwritten = False
        self._stopping: signal.Signals | None = None
        # True while no program runs that a signal could be sent to.
        self._starting = True
        self._signalled_at = math.inf

    def changed(self, name: str) -> None:
        """A credential may have another value now."""
        self._changed.set()

    async def run(self, credentials: Credentials) -> int:
        """Start the program, carry changes into it, and return its exit code when it ends."""
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.add_signal_handler(number, self._forward, number)
        try:
            self._read(credentials)
            self._write_files()
            await self._start()
            return await self._follow(credentials)
        finally:
            for path in self._written:
                path.unlink(missing_ok=True)

    async def _follow(self, credentials: Credentials) -> int:
        while True:
            process = self._process
            assert process is not None  # noqa: S101 (it was started)
            ended = asyncio.create_task(process.wait())
            news = asyncio.create_task(self._changed.wait())
            await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if ended.done():
                code = ended.result()
                return code if code >= 0 else 128 - code
            self._changed.clear()
            if (self._read(credentials) or self._unwritten) and self._wrote_files():
                await self._carry(process, ended)
            else:
                ended.cancel()

    async def _carry(self, process: asyncio.subprocess.Process, ended: "asyncio.Task[int]") -> None:
        """Let the program know of new values: restart it or send it a signal."""
        if self._on_change == "restart" and self._stopping is None:
            self._say("a credential has changed: the program is restarted")
            self._starting = True
            _send(process, signal.SIGTERM)
            await asyncio.wait({ended}, timeout=self._drain)
            if not ended.done():
                self._kill_late()
                await ended
            if self._stopping is None:
                await self._start()
            return
        ended.cancel()
        if self._on_change not in ("restart", "ignore"):
            self._say(f"a credential has changed: the program is sent {self._on_change}")
            _send(process, signal.Signals[self._on_change])

    async def _start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in OURS}
        given = {name: self._given[r] for name, r in self._bindings.variables.items()}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env={**kept, **given}
            )
        except OSError as problem:
            raise OperationError(
                f"{self._command[0]} cannot be started: {problem.strerror}."
            ) from None
        self._starting = False
        if self._stopping is not None:
            # The signal came while no program was running.
            _send(self._process, self._stopping)

    def _read(self, credentials: Credentials) -> bool:
        """Read the newest values; return whether one has changed. A credential that has become
        unavailable keeps its last value."""
        before = dict(self._given)
        for reference in (*self._bindings.variables.values(), *self._bindings.files.values()):
            try:
                value = self._value(credentials, reference)
            except UnavailableError as problem:
                if reference not in self._given:
                    raise OperationError(str(problem)) from None
                self._say(str(problem))
            else:
                self._given[reference] = value
        return self._given != before

    def _value(self, credentials: Credentials, reference: Reference) -> str:
        secret = credentials[reference.name]
        value = secret.field(reference.field) if reference.field else secret.reveal()
        if "\0" in value and reference in self._bindings.variables.values():
            raise UnavailableError("A value with a NUL in it cannot be put into a variable.")
        return value

    def _write_files(self) -> None:
        for path, reference in self._bindings.files.items():
            try:
                if not (self._bindings.replace or path in self._written):
                    # Exclusively: of two simultaneous runs, one gets the file.
                    path.touch(OWNER_ONLY, exist_ok=False)
                    self._written.add(path)
                _replace(path, self._given[reference])
            except FileExistsError:
                raise OperationError(
                    f"{path} exists already: name another path, remove the file, or use --replace, "
                    "which replaces the file and removes it at the end."
                ) from None
            except OSError as problem:
                raise OperationError(f"{path} cannot be written: {problem.strerror}.") from None
            self._written.add(path)

    def _wrote_files(self) -> bool:
        """Write the files; on failure return False, and try again later."""
        try:
            self._write_files()
        except OperationError as problem:
            if not self._unwritten:
                self._say(f"{problem} The program goes on with the values it has")
            self._unwritten = True
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._changed.set)
            return False
        self._unwritten = False
        return True

    def _forward(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        if number in ENDING and loop.time() - self._signalled_at > REPEAT_SECONDS:
            # A second request to stop means: do not wait for the drain.
            self._kill("the program is killed")
            return
        of_terminal = number is signal.SIGINT and os.isatty(0)
        if number in ENDING and (self._starting or not of_terminal):
            self._stopping = number
        if of_terminal:
            # The terminal has sent it to the program as well, which may handle it and go on.
            return
        if self._process is not None:
            _send(self._process, number)
        if number in ENDING and self._signalled_at == math.inf:
            self._signalled_at = loop.time()
            loop.call_later(self._drain, self._kill_late)

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self._say(why)
            _send(self._process, signal.SIGKILL)

    def _kill_late(self) -> None:
        self._kill(f"the program did not end within {self._drain:g} s and is killed")


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


def _replace(path: Path, value: str) -> None:
    """Replace a file atomically, readable by its owner only."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(value)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
