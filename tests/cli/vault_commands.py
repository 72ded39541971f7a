"""Running `gateway credentials …` as an operator does: values on stdin, in own processes."""

import os
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.settings import StoreSettings
from tests.cli.key_commands import COMMAND, PEPPER, REPOSITORY, Ended

MASTER = b64encode(b"m" * 32).decode()
OTHER_MASTER = b64encode(b"n" * 32).decode()


@dataclass(frozen=True, slots=True)
class VaultCommands:
    """Runs commands in `folder` against `store`, under these master keys; '' gives none."""

    store: StoreSettings
    folder: Path
    master: str = MASTER

    def __call__(self, *arguments: str, value: str | bytes = b"", **settings: str) -> Ended:
        return self.gateway("credentials", *arguments, value=value, **settings)

    def gateway(self, *arguments: str, value: str | bytes = b"", **settings: str) -> Ended:
        ended = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(**settings),
            input=value if isinstance(value, bytes) else value.encode(),
            capture_output=True,
            timeout=60,
        )
        said = ended.stderr.decode()
        assert "Traceback" not in said
        return Ended(ended.returncode, ended.stdout.decode(), said)

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY")}
        own = {
            "PYTHONPATH": str(REPOSITORY),
            "GATEWAY_REDIS_URL": self.store.url or "",
            "GATEWAY_PEPPER": PEPPER,
            "GATEWAY_MASTER_KEY": self.master,
            "GATEWAY_POLICIES": str(self.folder / "policies"),
        }
        return {**kept, **own, **settings}

    def set(self, name: str, value: str, *more: str, kind: str = "api_key") -> None:
        ended = self("set", name, "--type", kind, *more, value=value)
        assert ended.code == 0, ended.said
