"""Running `gateway …` as an operator does: in a process of its own, with values on stdin."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gateway.domain.keys import key as keys
from gateway.domain.settings import StoreSettings
from tests.cli.asking import SECONDS
from tests.cli.forks import REPOSITORY, run

PEPPER = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
MASTER = b64encode(b"m" * 32).decode()
OTHER_MASTER = b64encode(b"n" * 32).decode()
COMMAND = (sys.executable, "-m", "gateway")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `said` is its stderr."""

    code: int
    out: str
    said: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def is_one_sentence(self) -> bool:
        """Nothing on stdout, one sentence on stderr, no traceback."""
        return not self.out and self.said.startswith("gateway: ") and self.said.count("\n") == 1


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs `gateway keys` in `folder` against `store`. `anew`: by starting Python, so that the
    arguments are in the list of the system's processes."""

    store: StoreSettings
    folder: Path
    pepper: str = PEPPER
    anew: bool = False

    def __call__(self, *arguments: str) -> Ended:
        return self.gateway("keys", *arguments)

    def gateway(
        self,
        *arguments: str,
        value: str | bytes = b"",
        stdout: IO[bytes] | None = None,
        **settings: str,
    ) -> Ended:
        """Any command of the gateway. `value`: what it has on stdin."""
        start = _anew if self.anew else run
        given = value if isinstance(value, bytes) else value.encode()
        code, out, err = start(arguments, self.folder, self.environment(**settings), given, stdout)
        said = err.decode()
        assert "Traceback" not in said
        return Ended(code, out.decode(), said)

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY")}
        own = {
            "PYTHONPATH": str(REPOSITORY),
            "GATEWAY_REDIS_URL": self.store.url or "",
            "GATEWAY_PEPPER": self.pepper,
            "GATEWAY_POLICIES": str(self.folder / "policies"),
        }
        return {**kept, **own, **settings}

    def create(self, *more: str) -> keys.Key:
        """A new key of `sales`."""
        ended = self("create", "--consumer", "sales", "--scope", "agents/*", "--quiet", *more)
        key = keys.parse(ended.out.rstrip("\n"))
        assert key is not None, ended.said
        return key

    def write_plans(self, text: str) -> None:
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "plans.yaml").write_text(f"version: 1\nplans:\n{text}")


@dataclass(frozen=True, slots=True)
class VaultCommands(Commands):
    """Runs `gateway credentials` under these master keys; '' gives none."""

    master: str = MASTER

    def __call__(self, *arguments: str, value: str | bytes = b"", **settings: str) -> Ended:
        return self.gateway("credentials", *arguments, value=value, **settings)

    def environment(self, **settings: str) -> dict[str, str]:
        own = {"GATEWAY_MASTER_KEY": self.master, **settings}
        return Commands.environment(self, **own)

    def set(self, name: str, value: str, *more: str, kind: str = "api_key") -> None:
        ended = self("set", name, "--type", kind, *more, value=value)
        assert ended.code == 0, ended.said


def _anew(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    given: bytes,
    stdout: IO[bytes] | None = None,
) -> tuple[int, bytes, bytes]:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        input=given,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
    )
    return ended.returncode, ended.stdout or b"", ended.stderr
