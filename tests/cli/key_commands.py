"""Running `gateway keys …` as an operator does: in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.domain.keys import key as keys
from gateway.domain.settings import StoreSettings

PEPPER = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
COMMAND = (sys.executable, "-m", "gateway")
REPOSITORY = Path(__file__).parents[2]


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
    """Runs commands in `folder` against `store`."""

    store: StoreSettings
    folder: Path
    pepper: str = PEPPER

    def __call__(self, *arguments: str) -> Ended:
        return self.gateway("keys", *arguments)

    def gateway(self, *arguments: str) -> Ended:
        """Any command of the gateway."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY")}
        return {
            **kept,
            "PYTHONPATH": str(REPOSITORY),
            "GATEWAY_REDIS_URL": self.store.url or "",
            "GATEWAY_PEPPER": self.pepper,
            "GATEWAY_POLICIES": str(self.folder / "policies"),
        }

    def create(self, *more: str) -> keys.Key:
        """A new key of `sales`."""
        ended = self("create", "--consumer", "sales", "--scope", "agents/*", "--quiet", *more)
        key = keys.parse(ended.out.rstrip("\n"))
        assert key is not None, ended.said
        return key

    def write_plans(self, text: str) -> None:
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "plans.yaml").write_text(f"version: 1\nplans:\n{text}")
