"""A program that stands in a directory which is closed to its user runs, and finds nothing else."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.children.covers import covers, needed
from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings, Isolation, Program
from tests.children.programs import needs

LOOK = """
import json, os, sys
def seen(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read()
    except OSError as problem:
        return problem.strerror
print(json.dumps({path: seen(path) for path in sys.argv[1:]}))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Somebody's: closed to all others, with a tool, a secret and what the gateway hides in it."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for path, text in (
            ("tools/look.py", LOOK),
            ("tools/lib/data", "data"),
            ("tools/lib/master.key", "hidden"),
            ("secret", "secret"),
        ):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text)
        assert home.stat().st_mode & 0o777 == 0o700
        yield home


@pytest.mark.parametrize("isolation", [Isolation.UID, Isolation.BUBBLEWRAP])
async def test_a_tool_in_a_closed_home_runs_and_sees_what_its_policy_names_alone(
    isolation: Isolation, home: Path, tmp_path: Path
) -> None:
    needs(Isolation.UID)
    needs(isolation)
    hidden = home / "tools" / "lib" / "master.key"
    launcher = Launcher(ChildSettings(state_dir=tmp_path, hidden=(hidden,)), isolation)
    script, data = home / "tools" / "look.py", home / "tools" / "lib"
    told = (str(home), str(home / "tools"), str(data / "data"), str(hidden), str(home / "secret"))
    argv = (sys.executable, str(script), *told)
    # As where a caller has sent the path of the secret: no policy wrote it.
    child = await launcher.start(
        Program(argv, "fc", readable=(str(data),), named=(sys.executable, str(script)))
    )
    out, err = await child.stdout.read(), await child.stderr.read()
    assert await child.wait() == 0, err
    seen = json.loads(out)
    assert seen[str(home)] == ["tools"]
    assert seen[str(home / "tools")] == ["lib", "look.py"]
    assert seen[str(data / "data")] == "data"
    assert seen[str(hidden)] in ("", os.strerror(13)), "as the gateway hides it"
    assert seen[str(home / "secret")] == os.strerror(2)
    assert (home / "secret").read_text() == "secret", "and for the gateway all is as it was"


def test_what_a_program_needs_is_itself_what_it_came_with_and_what_a_policy_names(
    home: Path,
) -> None:
    (home / "bin").mkdir()
    real, link = home / "bin" / "python3", home / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    (home / "venv" / "pyvenv.cfg").touch()
    real.touch()
    link.symlink_to(real)
    found = needed(link, ("--flag", "tools", str(home / "secret"), str(home / "absent")))
    assert set(found) == {
        *(str(home / "venv" / one) for one in ("bin", "pyvenv.cfg")),
        *(str(home / one) for one in ("bin", "secret")),
    }
    assert needed(home / "secret", ()) == (str(home / "secret"),)


@pytest.mark.parametrize("item", ["/", "/etc", "/proc/self/environ", "/dev/null", "secret", ""])
def test_what_is_no_file_of_its_own_in_a_command_line_opens_nothing(item: str, home: Path) -> None:
    program = home / "tools" / "look.py"
    assert needed(program, (item, str(home / "tools"))) == (str(program),)


def test_only_what_is_closed_is_covered_and_links_on_the_way_are_kept(home: Path) -> None:
    (home / "link").symlink_to("tools")
    (cover,) = covers([str(home / "link" / "look.py"), "/usr/bin/env"])
    assert cover.folder == str(home)
    assert cover.links == {str(home / "link"): "tools"}
    assert cover.places == {str(home / "tools" / "look.py")}
    home.chmod(0o755)
    assert covers([str(home / "link" / "look.py")]) == []


def test_links_that_lead_in_circles_end(home: Path) -> None:
    (home / "one").symlink_to("two")
    (home / "two").symlink_to("one")
    covers([str(home / "one")])
    assert set(needed(home / "one", ())) == {str(home / "one"), str(home / "two")}
