"""A program that is given credentials, and given them anew when they change."""

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

# Sent on to the program as they come.
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDING = (signal.SIGTERM, signal.SIGINT)
# Process groups and `timeout` deliver one wish to stop twice.
ONE_WISH_SECONDS = 1.0
# Not the program's: with these, it could read whatever the key may, or the whole vault.
OURS = (
    *("GATEWAY_KEY", "GATEWAY_KEY_FILE"),
    *("GATEWAY_MASTER_KEY", "GATEWAY_MASTER_KEY_FILE", "GATEWAY_PEPPER", "GATEWAY_PEPPER_FILE"),
    *("GATEWAY_REDIS_URL", "GATEWAY_ADMIN_REDIS_URL", "GATEWAY_VAULT_REDIS_URL"),
)
OWNER_ONLY = 0o600
# A file that cannot be written is tried again so often.
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which credential goes into which variable, and into which file. `replace`: also where one is
    that somebody may still want."""

    variables: Mapping[str, Reference]
    files: Mapping[Path, Reference]
    replace: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        every = (*self.variables.values(), *self.files.values())
        return tuple(dict.fromkeys(reference.name for reference in every))


class Child:
    """`on_change`: `restart`, `ignore`, or the name of a signal. `drain`: seconds that the program
    may take to end, for a restart or for good, before it is killed. `say` is told what happens,
    without values."""

    def __init__(
        self,
        command: Sequence[str],
        wanted: Wanted,
        on_change: str,
        drain: float,
        say: Callable[[str], None],
    ) -> None:
        self._command = command
        self._wanted = wanted
        self._on_change = on_change
        self._drain = drain
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()
        self._given: dict[Reference, str] = {}
        # What a file holds that was never written is not ours to remove.
        self._written: set[Path] = set()
        self._unwritten = False
        self._stopping: signal.Signals | None = None
        # Between the end of one program and the beginning of the next nobody hears a signal.
        self._starting = True
        self._wished = math.inf

    def changed(self, name: str) -> None:
        """A credential may have another value now."""
        self._changed.set()

    async def run(self, credentials: Credentials) -> int:
        """Start the program, follow the changes, and return its exit code once it ends itself."""
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
        """What has changed, into the program."""
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
        given = {name: self._given[r] for name, r in self._wanted.variables.items()}
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
            # It came while there was nothing to send it to.
            _send(self._process, self._stopping)

    def _read(self, credentials: Credentials) -> bool:
        """Take the newest values; whether one is another than before. One that cannot be had any
        more stays as it is: the program works with what it has."""
        before = dict(self._given)
        for reference in (*self._wanted.variables.values(), *self._wanted.files.values()):
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
        if "\0" in value and reference in self._wanted.variables.values():
            raise UnavailableError("A value with a NUL in it cannot be put into a variable.")
        return value

    def _write_files(self) -> None:
        for path, reference in self._wanted.files.items():
            try:
                if not (self._wanted.replace or path in self._written):
                    # Of two runs that begin at once one has it.
                    path.touch(OWNER_ONLY, exist_ok=False)
                    self._written.add(path)
                _replace(path, self._given[reference])
            except FileExistsError:
                raise OperationError(
                    f"{path} is there already: name another place or remove it, or say --replace, "
                    "and it is replaced, and removed at the end."
                ) from None
            except OSError as problem:
                raise OperationError(f"{path} cannot be written: {problem.strerror}.") from None
            self._written.add(path)

    def _wrote_files(self) -> bool:
        """False: a file stays as it is for now, and so does the program."""
        try:
            self._write_files()
        except OperationError as problem:
            if not self._unwritten:
                self._say(f"{problem} The program goes on with what it has")
            self._unwritten = True
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._changed.set)
            return False
        self._unwritten = False
        return True

    def _forward(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        if number in ENDING and loop.time() - self._wished > ONE_WISH_SECONDS:
            # Whoever asks again does not want to wait.
            self._kill("the program is killed")
            return
        of_terminal = number is signal.SIGINT and os.isatty(0)
        if number in ENDING and (self._starting or not of_terminal):
            self._stopping = number
        if of_terminal:
            # It has sent it to the program already, which may well go on after it.
            return
        if self._process is not None:
            _send(self._process, number)
        if number in ENDING and self._wished == math.inf:
            self._wished = loop.time()
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
    """Whole or not at all, and for its owner alone."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(value)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
