"""`gateway serve` where the system has no more threads or files to give."""

import asyncio
from pathlib import Path

import pytest

from gateway.app import LOOKUP_THREADS
from gateway.domain.settings import StoreSettings
from tests.cli.commands import MASTER, PEPPER
from tests.cli.crews import SlowAgent
from tests.cli.serving import PATIENCE, Served, refused, serving


@pytest.fixture
def settings(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    # A name, which has to be looked up.
    text = f"version: 1\nagents:\n  a: {{upstream: 'http://localhost:{agent.port}'}}\n"
    (tmp_path / "policies" / "a.yaml").write_text(text)
    return {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": PEPPER,
        "GATEWAY_MASTER_KEY": MASTER,
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
    }


def threads_of(served: Served) -> int:
    return len(list(Path(f"/proc/{served.process.pid}/task").iterdir()))


async def test_no_thread_is_begun_later_that_the_system_may_not_have_any_more(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    """A first look-up without one ended the process, a first access line the access log."""
    lines = tmp_path / "access.log"
    async with serving("--access-log", str(lines), folder=tmp_path, settings=settings) as served:
        begun = threads_of(served)
        assert begun > LOOKUP_THREADS
        calls = (served.get("/agents/a/quick", key) for _ in range(50))
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        async with asyncio.timeout(PATIENCE):
            while not lines.exists():
                await asyncio.sleep(0.02)
        assert threads_of(served) == begun


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_without_the_threads_that_it_needs_a_gateway_says_so_and_does_not_serve(
    settings: dict[str, str], tmp_path: Path, workers: str
) -> None:
    # Stacks so large that a few of them are all that a process may have.
    code, said = await refused(
        *("serve", "--workers", workers),
        folder=tmp_path,
        settings=settings,
        before="ulimit -s 1048576 && ulimit -v 6291456",
    )
    assert code == 1
    assert said.count("\n") == 1
    assert "no more threads: raise the limit" in said


async def test_that_fewer_are_let_in_than_were_asked_for_is_told_unless_it_is_a_handful(
    settings: dict[str, str], tmp_path: Path
) -> None:
    more = ("--max-connections", "100")
    for files, told in ((278, True), (280, False)):
        before = f"ulimit -n {files}"
        async with serving(*more, folder=tmp_path, settings=settings, before=before) as served:
            assert ("files_few" in [one["event"] for one in served.events]) is told


async def test_connections_that_wait_give_way_before_files_run_out(
    settings: dict[str, str], key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings, before="ulimit -n 256") as served:
        warned = next(one for one in served.events if one["event"] == "files_few")
        assert "no more than 78 are let in" in warned["reason"]
        # More than there are files for, and each is kept for a next request.
        for _ in range(256):
            assert (await (await served.connect()).get("/livez")).status == 200
        assert (await served.get("/agents/a/quick", key)).status == 200
