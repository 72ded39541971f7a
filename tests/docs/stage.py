"""What a reader has in front of them: a clone, a running demo, and things to call."""

import asyncio
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from tests.cli.demos import demo
from tests.cli.serving import REPOSITORY, environment
from tests.docs.upstream import upstream
from tests.flows.world import listening

# Where the pages say that things are; no test may rely on a port that is free.
GATEWAY, ADMIN, UPSTREAM, CHAT = "8080", "8081", "9101", "9102"
_PORT = re.compile(r"(?<=[:\s])(?:80\d\d|9\d\d\d)\b")
# What readers have of their own, and agents beside those of the demo.
READERS = {
    "OPENAI_API_KEY": "sk-docs-0123456789abcdef",
    "ANTHROPIC_API_KEY": "sk-ant-docs-0123456789ab",
    "NEW": "sk-docs-fedcba9876543210",
    "TOKEN": "ghp_docs0123456789abcdef",
}
POLICIES = """\
version: 1
agents:
  support: {upstream: "http://127.0.0.1:9101"}
  faq: {upstream: "http://127.0.0.1:9101"}
"""


@dataclass
class Stage:
    """`folder`: the clone. `variables`: what the reader's shell has. `ports`: by those shown."""

    folder: Path
    variables: dict[str, str]
    ports: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """`text` of a page with the ports of this stage."""
        return _PORT.sub(lambda found: self._port(found.group()), text)

    def _port(self, shown: str) -> str:
        if shown not in self.ports:
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                self.ports[shown] = str(sock.getsockname()[1])
        return self.ports[shown]

    async def new_key_id(self) -> str:
        """Of a key that may call every agent."""
        url = f"http://127.0.0.1:{self.ports[ADMIN]}/admin/v1/keys"
        headers = {"Authorization": f"Bearer {self.variables['ADMIN_KEY']}"}
        asked = {"consumer": "sales", "scopes": ["agents/*"]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=asked, headers=headers) as told,
        ):
            return str((await told.json())["id"])

    async def shell(self, script: str, patience: float = 90) -> tuple[int, str]:
        """Run by bash in the clone: its exit code, and all that was printed."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(patience):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, 9)
                await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A clone in which `make run` runs, and at ports 9101 and 9102 what answers everything."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) / "clone"
        shutil.copytree(REPOSITORY / "policies", folder / "policies")
        for name in ("docs", "examples"):
            (folder / name).symlink_to(REPOSITORY / name)
        (folder / ".venv").symlink_to(sys.prefix)
        port = await stack.enter_async_context(listening(upstream()))
        made = Stage(folder, {}, {UPSTREAM: str(port), CHAT: str(port)})
        (folder / "policies" / "here.yaml").write_text(made.here(POLICIES))
        running = await stack.enter_async_context(demo(folder, GATEWAY_CREDENTIAL_POLL="0.2s"))
        printed = "\n".join(running.lines)
        made.ports[GATEWAY] = running.url.rpartition(":")[2]
        made.ports[ADMIN] = re.findall(r"127\.0\.0\.1:(\d+)/console", printed)[0]
        made.variables = {
            **READERS,
            **dict(re.findall(r"^export (\w+)=(\S+)", printed, re.MULTILINE)),
            "PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "GATEWAY_URL": f"http://127.0.0.1:{made.ports[GATEWAY]}",
            "NO_COLOR": "1",
        }
        yield made
