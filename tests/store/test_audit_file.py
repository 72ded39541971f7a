"""The audit's file: whole lines of several writers, rotated by one of them, and never lost."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.crypto.audit_key import sealed_with
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import AuditEvent, Chain
from gateway.domain.audit.settings import AuditFileSettings, Fsync
from gateway.domain.errors import StoreError
from gateway.store import audit_file
from gateway.store.audit_file import AuditFile, is_whole, read_lines, rotated

KEY = b"k" * 32


class Writer:
    """A chain of its own."""

    def __init__(self, name: str, file: AuditFile) -> None:
        self._chain, self._file = Chain(name, sealed_with(KEY), "signer"), file

    def write(self, count: int = 1) -> None:
        event = AuditEvent("credential.use")
        self._file.append([self._chain.add(event, 1001.0 + self._chain.seq) for _ in range(count)])


def verified(path: Path, *, gone_before: float = -math.inf) -> Chains:
    chains = Chains({"signer": KEY}, signed=True, gone_before=gone_before, may_be_torn=True)
    problems = [(where, chains.problem(line)) for where, line in read_lines(path)]
    assert [one for one in problems if one[1]] == []
    return chains


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_a_full_file_is_rotated_and_its_chain_goes_on_in_the_next(path: Path) -> None:
    writer = Writer("a", AuditFile(AuditFileSettings(path, 4000, keep=0)))
    for _ in range(60):
        writer.write()
    names = [one.name for one in rotated(path)]
    assert names == [f"audit.jsonl.{n:09d}" for n in range(1, len(names) + 1)]
    assert len(names) >= 5
    for one in (*rotated(path), path):
        assert one.stat().st_size <= 4000
        assert one.stat().st_mode & 0o777 == 0o600
    chains = verified(path)
    assert (chains.records, chains.count, chains.late) == (60, 1, 0)
    alone = verified(rotated(path)[2], gone_before=math.inf)
    assert (alone.count, alone.late) == (1, 1)
    wheres = [where for where, _ in read_lines(path)]
    assert wheres[0] == "audit.jsonl.000000001 line 1"
    assert wheres[-1].startswith("audit.jsonl line ")


@pytest.mark.parametrize("keep", [1, 2, 4, 10])
def test_as_many_files_are_kept_as_there_may_be(path: Path, keep: int) -> None:
    writer = Writer("a", AuditFile(AuditFileSettings(path, 2000, keep=keep)))
    kept = set()
    for _ in range(80):
        writer.write()
        kept.add(len(rotated(path)))
    assert kept == set(range(keep + 1))


def test_the_oldest_files_go_and_what_is_left_is_a_chain(path: Path) -> None:
    writer = Writer("a", AuditFile(AuditFileSettings(path, 4000, keep=3)))
    for _ in range(100):
        writer.write()
    assert len(rotated(path)) == 3
    assert verified(path, gone_before=math.inf).late == 1
    chains = Chains({"signer": KEY}, signed=True, gone_before=-math.inf)
    assert "missing" in chains.problem(next(read_lines(path))[1])
    path.rename(path.with_name("taken away"))
    assert verified(path, gone_before=math.inf).late == 1
    rotated(path)[1].unlink()
    problems = Chains({"signer": KEY}, signed=True, gone_before=math.inf)
    assert [p for _, line in read_lines(path) if (p := problems.problem(line))]


def test_several_processes_rotate_one_file_and_every_chain_is_whole(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.store.test_audit_file import *\n"
        "file = AuditFile(AuditFileSettings(Path(sys.argv[1]), 20_000, 0, Fsync.NEVER))\n"
        "writer = Writer(sys.argv[2], file)\n"
        "for _ in range(300): writer.write(3)\n"
    )
    repository = Path(__file__).parents[2]
    writing = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=repository)
        for name in ("a", "b", "c", "d")
    ]
    assert [one.wait(60) for one in writing] == [0, 0, 0, 0]
    chains = verified(path)
    assert (chains.records, chains.count, chains.torn) == (3600, 4, 0)
    # Whoever finds another one rotating writes on, so that files are somewhat longer.
    assert len(rotated(path)) > 15


def test_a_file_that_is_rotated_by_others_is_made_anew_without_a_word(path: Path) -> None:
    writer = Writer("a", AuditFile(AuditFileSettings(path)))
    writer.write()
    path.rename(path.with_name("audit.jsonl.1"))
    writer.write()
    assert len(path.read_text().splitlines()) == 1
    path.with_name("both").write_bytes(
        path.with_name("audit.jsonl.1").read_bytes() + path.read_bytes()
    )
    assert verified(path.with_name("both")).records == 2


def test_a_file_that_is_rotated_while_it_is_opened_is_read_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("one\ntwo\n")

    def after_a_rotation(of: Path) -> list[Path]:
        path.rename(f"{path}.000000001")
        return rotated(of)

    monkeypatch.setattr(audit_file, "rotated", after_a_rotation)
    assert [text for _, text in read_lines(path)] == ["one", "two"]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may become larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_refuses_and_what_it_left_half_written_harms_nothing_after(path: Path) -> None:
    file = AuditFile(AuditFileSettings(path))
    Writer("a", file).write(2)
    with disk_of(path.stat().st_size + 100):
        for _ in range(2):
            with pytest.raises(StoreError):
                Writer("lost", file).write()
    Writer("b", file).write(2)
    chains = verified(path)
    assert (chains.records, chains.count, chains.torn) == (4, 2, 1)
    strict = Chains({"signer": KEY}, signed=True, gone_before=-math.inf)
    problems = [strict.problem(line) for _, line in read_lines(path)]
    assert [problem[:22] for problem in problems if problem] == ["only a part of it is t"]


def test_by_their_names_files_tell_whether_older_ones_are_missing(path: Path) -> None:
    writer = Writer("a", AuditFile(AuditFileSettings(path, 4000, keep=2)))
    writer.write()
    assert is_whole(path)
    while len(rotated(path)) < 2:
        writer.write()
    assert is_whole(path) and is_whole(rotated(path)[0]) and not is_whole(rotated(path)[1])
    for _ in range(40):
        writer.write()
    assert not is_whole(path)


def test_a_record_that_is_made_to_look_torn_leaves_a_hole(path: Path) -> None:
    Writer("a", AuditFile(AuditFileSettings(path))).write(3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2]]))
    chains = Chains({"signer": KEY}, signed=True, gone_before=math.inf, may_be_torn=True)
    assert [bool(chains.problem(line)) for _, line in read_lines(path)] == [False, False, True]


def test_what_cannot_be_rotated_is_written_on_and_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    writer = Writer("a", AuditFile(AuditFileSettings(path, 2000), told.append))
    # A directory in the way, where the next file would go.
    Path(f"{path}.000000001").mkdir()
    monkeypatch.setattr(audit_file, "rotated", lambda _: [])
    for _ in range(10):
        writer.write()
    assert len(told) == 1 and "could not be rotated" in told[0]
    assert len(path.read_text().splitlines()) == 10


@pytest.mark.parametrize("sync", list(Fsync))
def test_a_record_is_on_the_disk_when_it_was_promised_to_be(
    path: Path, sync: Fsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    file = AuditFile(AuditFileSettings(path, 2000, 0, sync))
    writer = Writer("a", file)
    for _ in range(8):
        writer.write()
    inodes = [one.stat().st_ino for one in (*rotated(path), path)]
    assert len(inodes) > 1
    # Where a file is made, its directory has to know of it too.
    directory = path.parent.stat().st_ino
    assert synced.count(directory) == (0 if sync is Fsync.NEVER else len(inodes))
    synced[:] = [one for one in synced if one != directory]
    if sync is Fsync.ALWAYS:
        assert len(synced) == 8 and set(synced) == set(inodes)
    else:
        assert synced == []
    file.sync()
    file.sync()
    if sync is Fsync.SECOND:
        # Those that were rotated away meanwhile too.
        assert sorted(synced) == sorted(inodes)
    elif sync is Fsync.NEVER:
        assert synced == []
    assert all(json.loads(line) for _, line in read_lines(path))


def test_where_there_is_no_file_at_all_it_is_said(path: Path) -> None:
    for missing in (path, path / "below"):
        with pytest.raises(StoreError, match="cannot be read: No such file"):
            list(read_lines(missing))


def test_what_a_disk_refuses_only_at_the_end_is_told_and_the_rest_is_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems do: nothing was synced any more."""
    said: list[str] = []
    file = AuditFile(AuditFileSettings(path, 5, 0, Fsync.SECOND), said.append)
    file.append([b"one"])
    file.append([b"two"])
    assert len(rotated(path)) == 1
    close, closed = os.close, []

    def refusing(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", refusing)
        file.sync()
    assert len(closed) == 2
    assert said == [f"{path} could not be brought to the disk: Input/output error."] * 2
