"""An owner's user id is its own: in every worker, after a restart, and for good."""

import multiprocessing
from pathlib import Path

import pytest

from gateway.children.uids import BLOCK, HIGHEST, LOWEST, Uids
from gateway.domain.errors import OperationError


def _ask(directory: Path, owners: list[str]) -> list[int]:
    uids = Uids(directory, None)
    return [uids.of(owner) for owner in owners]


def test_an_owner_keeps_its_id_and_shares_it_with_nobody(tmp_path: Path) -> None:
    first, second = Uids(tmp_path, None), Uids(tmp_path, None)
    one = first.of("fc\0u1")
    two = second.of("fc\0u2")
    assert one != two and LOWEST <= one < HIGHEST + BLOCK
    assert (second.of("fc\0u1"), first.of("fc\0u2")) == (one, two)
    assert Uids(tmp_path, None).of("fc\0u2") == two
    assert (tmp_path / "tool-uids").stat().st_mode & 0o077 == 0


def test_workers_that_ask_at_once_agree(tmp_path: Path) -> None:
    owners = [f"fc\0u{number}" for number in range(40)]
    asked = [owners, owners[::-1], owners[20:] + owners[:20]]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_ask, [(tmp_path, some) for some in asked])
    agreed = dict(zip(owners, found[0], strict=True))
    assert len(set(agreed.values())) == len(owners)
    for some, ids in zip(asked, found, strict=True):
        assert dict(zip(some, ids, strict=True)) == agreed


def test_a_line_that_was_cut_by_a_crash_is_nobodys(tmp_path: Path) -> None:
    one = Uids(tmp_path, None).of("fc\0u1")
    with (tmp_path / "tool-uids").open("a") as file:
        file.write("abcdef")
    after = Uids(tmp_path, None)
    assert after.of("fc\0u2") == one + 1
    assert (after.of("fc\0u1"), Uids(tmp_path, None).of("fc\0u2")) == (one, one + 1)


def test_a_range_that_is_given_is_kept_to(tmp_path: Path) -> None:
    uids = Uids(tmp_path, (70_000, 70_001))
    assert [uids.of("a"), uids.of("b"), uids.of("a")] == [70_000, 70_001, 70_000]
    with pytest.raises(OperationError, match="--tool-uids"):
        uids.of("c")


def test_ids_that_cannot_be_kept_are_not_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationError, match="cannot be kept"):
        Uids(tmp_path / "file" / "state", None).of("a")
