"""A PostgreSQL of Debian's for one test, or a reason why there is none."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam
from tempfile import TemporaryDirectory

from tests.flows.nodes import free_ports
from tests.needed import missing

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _home() -> Path:
    found = next((home for home in HOMES if (home / "initdb").exists()), None)
    if found is None and shutil.which("initdb"):
        found = Path(shutil.which("initdb") or "").parent
    return found or missing("PostgreSQL is not installed (Debian: postgresql)")


def _account() -> str | None:
    """PostgreSQL does not run as root; None: as whoever runs this."""
    if os.getuid() != 0:
        return None
    try:
        return getpwnam("postgres").pw_name
    except KeyError:
        missing("PostgreSQL does not run as root, and there is no user 'postgres'")


class Postgres:
    """`url(user, password)` reaches it; `sql` is run by its owner."""

    def __init__(self, home: Path, folder: Path, account: str | None) -> None:
        self._home = home
        self._folder = folder
        self._account = account
        (self.port,) = free_ports(1)

    def url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/postgres"

    def sql(self, text: str) -> None:
        where = ("-h", str(self._folder), "-p", str(self.port), "-U", "owner", "-d", "postgres")
        self._run("psql", *where, "-v", "ON_ERROR_STOP=1", "-q", "-c", text)

    def start(self) -> None:
        data = str(self._folder / "data")
        # Owners come in by the socket, everybody else by password.
        self._run(
            "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", "--auth-local=trust", "-N"
        )
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -F"
        self._run(
            "pg_ctl", "-D", data, "-w", "-l", str(self._folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._home / program), *words]
        ended = subprocess.run(
            command,
            user=self._account,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr


@contextmanager
def postgres() -> Iterator[Postgres]:
    home, account = _home(), _account()
    with TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if account is not None:
            shutil.chown(folder, account)
        made = Postgres(home, folder, account)
        made.start()
        try:
            yield made
        finally:
            made.stop()
