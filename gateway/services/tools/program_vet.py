"""Whether the programs that policies name can be run as tools on this machine."""

import asyncio
import stat
from pathlib import Path

from gateway.children.isolation import find_isolation
from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings, Isolation
from gateway.domain.errors import OperationError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies, ToolServer
from gateway.domain.policies.tools import Transport
from gateway.log import log

_UNGUARDED = (
    "nothing would keep this program from the gateway's files and memory: install bubblewrap "
    "(bwrap), or run the gateway as root, which gives each program a user id of its own"
)


class ProgramVet:
    """Chooses the isolation once, when the first policy has a program."""

    def __init__(self, settings: ChildSettings, launcher: Launcher) -> None:
        self._settings = settings
        self._launcher = launcher

    async def problems(self, policies: Policies) -> tuple[Problem, ...]:
        """Return why programs cannot be run here, once for each server that has some."""
        servers = _programs(policies)
        if not servers:
            return ()
        if self._launcher.isolation is None:
            try:
                reason = await asyncio.to_thread(self._find)
            except OperationError as problem:
                reason = str(problem)
            if reason:
                return tuple(policies.problem(server, reason) for server in servers)
        if self._launcher.isolation is Isolation.UID:
            return tuple(
                policies.problem(servers[0], f"every program could read {path}: chmod 600 it")
                for path in self._settings.hidden
                if _is_open(path)
            )
        return ()

    def _find(self) -> str:
        """Choose an isolation; return why none is good enough, or ''."""
        found = find_isolation(self._settings.isolation)
        if found is Isolation.NONE and self._settings.exposed:
            return _UNGUARDED
        if found is Isolation.NONE:
            log.warning("tools_not_isolated", reason=_UNGUARDED)
        self._launcher.isolation = found
        try:
            self._launcher.prepare()
        except OperationError:
            self._launcher.isolation = None
            raise
        return ""


def _programs(policies: Policies) -> list[ToolServer]:
    return [one for one in policies.tools.values() if one.tools.transport is not Transport.HTTP]


def _is_open(path: Path) -> bool:
    """Whether the file `path` can be read by everybody."""
    try:
        # Before `resolve`, which raises RuntimeError at a link to itself.
        if not path.is_file():
            return False
        path = path.resolve()
        readable = bool(path.stat().st_mode & stat.S_IROTH)
        return readable and all(p.stat().st_mode & stat.S_IXOTH for p in path.parents)
    except OSError:
        return False
