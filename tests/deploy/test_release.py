"""What is released is whole: the wheel runs where nothing else is, and says what is in it."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import gateway
from deploy.audit_deps import verdict
from tests.cli.demos import demo

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def run(*words: str | Path, cwd: Path = REPOSITORY) -> str:
    ended = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (made,) = folder.glob("*.whl")
    yield made


def test_the_wheel_holds_all_that_the_package_reads_and_nothing_beside_it(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "gateway").split()
    assert {name for name in held if ".dist-info/" not in name} == {
        *tracked,
        "gateway/demo/policies/demo.yaml",
    }
    for kind in ("console/pages/keys.html", "console/static/console.js", "store/admit.lua"):
        assert any(name.endswith(kind) for name in held), kind


def test_the_image_is_made_of_all_that_the_wheel_is_made_of(wheel: Path, tmp_path: Path) -> None:
    let_in = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    dockerfile = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)).split()
    assert set(copied) == set(let_in)
    for name in run("git", "ls-files", *copied).split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist")
    run(*build, cwd=tmp_path)
    (made,) = (tmp_path / "dist").glob("*.whl")
    held = [set(zipfile.ZipFile(one).namelist()) for one in (made, wheel)]
    assert held[0] == held[1]


def test_the_version_has_one_home_and_is_the_same_wherever_it_is_told(wheel: Path) -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert wheel.name.startswith(f"agent_credential_gateway-{gateway.__version__}-")
    history = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\d+\.\d+\.\d+)", history, re.MULTILINE)[0] == gateway.__version__
    for path in (REPOSITORY / "deploy" / "kubernetes").rglob("*.yaml"):
        told = re.findall(r"(?:agent-credential-gateway:|newTag: )(\d[\w.]+)", path.read_text())
        assert set(told) <= {gateway.__version__}, path


def test_every_python_that_is_declared_is_one_that_make_tests() -> None:
    declared = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    makefile = (REPOSITORY / "Makefile").read_text()
    tested = re.findall(r"python(3\.\d+)", makefile.split("EVERY_PYTHON = ")[1].split("\n")[0])
    assert declared == tested
    assert PROJECT["requires-python"] == f">={declared[0]}"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and, of all that is here, the libraries alone."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin" / "python"
    asked = ("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *asked, wheel)
    # Paths named in a .pth are searched, but their own .pth files are not read: so what is
    # imported of the gateway is the wheel's.
    own = next((place / "lib").glob("python3*/site-packages"))
    (own / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    return place


async def test_the_wheel_in_an_empty_environment_passes_the_demo(
    installed: Path, tmp_path: Path
) -> None:
    python = str(installed / "bin" / "python")
    where = "import gateway.store.admission as a; print(a.__file__)"
    assert run(python, "-c", where, cwd=tmp_path).startswith(str(installed))
    async with demo(tmp_path, python=python, PYTHONPATH="") as running:
        told = await call(running.url, running.key)
        assert told["headers"]["X-Gateway-Consumer"] == "demo"
        admin = re.findall(r"http://[\d.:]+/console/", "\n".join(running.lines))[0]
        async with aiohttp.ClientSession() as session, session.get(admin) as page:
            assert page.status == 200 and "console.css" in await page.text()
        code, _ = await running.interrupt()
        assert code == 0


async def call(url: str, key: str) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/agents/echo/hello", headers=headers) as answer,
    ):
        assert answer.status == 200
        return await answer.json()


def test_the_installed_command_prints_the_schema_that_editors_have(
    installed: Path, tmp_path: Path
) -> None:
    printed = run(installed / "bin" / "gateway", "policy", "schema", cwd=tmp_path)
    assert json.loads(printed) == json.loads((REPOSITORY / "policies" / "schema.json").read_text())


def test_the_bill_of_materials_names_every_package_of_the_lock(tmp_path: Path) -> None:
    made = tmp_path / "sbom.json"
    program = Path(sys.executable).with_name("cyclonedx-py")
    lock = REPOSITORY / "deploy" / "requirements.txt"
    asked = ("--pyproject", REPOSITORY / "pyproject.toml", "--output-reproducible", "-o", made)
    run(program, "requirements", *asked, lock)
    told = json.loads(made.read_text())
    assert told["metadata"]["component"]["name"] == PROJECT["name"]
    locked = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    named = {(one["name"], one["version"]) for one in told["components"]}
    assert named == set(locked) and len(locked) > 30


WEAK = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("dependencies", "code", "sentence"),
    [
        ([{"name": "a", "version": "1.0", "vulns": []}], 0, "1 packages audited: 0 weaknesses."),
        ([{"name": "a", "version": "1.0", "vulns": [WEAK]}], 1, "a 1.0: PYSEC-1, mended in 2.0"),
        ([{"name": "a", "skip_reason": "not found"}], 0, "Not audited: the index knows none"),
        (None, 0, "Not audited: the index of weaknesses could not be asked."),
    ],
)
def test_an_audit_stops_for_a_weakness_alone_and_never_claims_what_it_did_not_ask(
    dependencies: list[dict[str, Any]] | None, code: int, sentence: str
) -> None:
    found = None if dependencies is None else {"dependencies": dependencies}
    said, exit_code = verdict(found)
    assert (exit_code, said[0][: len(sentence)]) == (code, sentence)
