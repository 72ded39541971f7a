"""A file that is being written is not read; one that was replaced whole is read at once."""

from pathlib import Path

from gateway.services.policies.debounce import LONGEST_WAIT, Debounce, is_open_for_writing
from gateway.services.policies.directory import Listing, Stamp


def stamp(inode: int = 1, size: int = 10, target: str = "/p/a.yaml") -> Stamp:
    return Stamp(target, 7, inode, size, 1000 + size)


def nobody(path: Path) -> bool:
    return False


def somebody(path: Path) -> bool:
    return True


def unknown(path: Path) -> None:
    """As on a network's file system, or of a file of somebody else."""


LOADED: Listing = {"a.yaml": stamp(), "b.yaml": stamp(inode=2)}


def test_nothing_is_due_while_nothing_changes() -> None:
    settling = Debounce(LOADED, nobody)
    assert not any(settling.due(dict(LOADED), at) for at in range(100))


def test_a_file_written_in_place_is_due_after_a_second_of_rest() -> None:
    settling = Debounce(LOADED, nobody)
    assert not settling.due(LOADED | {"a.yaml": stamp(size=11)}, 10.0)
    assert not settling.due(LOADED | {"a.yaml": stamp(size=12)}, 10.9), "it grew meanwhile"
    assert not settling.due(LOADED | {"a.yaml": stamp(size=12)}, 11.8)
    assert settling.due(LOADED | {"a.yaml": stamp(size=12)}, 11.9)


def test_a_file_replaced_by_rename_is_due_at_once() -> None:
    assert Debounce(LOADED, nobody).due(LOADED | {"a.yaml": stamp(inode=3)}, 10.0)


def test_a_new_file_of_which_nobody_can_tell_who_writes_it_has_to_rest() -> None:
    settling = Debounce(LOADED, unknown)
    assert not settling.due(LOADED | {"a.yaml": stamp(inode=3)}, 10.0)
    assert settling.due(LOADED | {"a.yaml": stamp(inode=3)}, 11.0)


def test_a_file_that_somebody_has_open_is_not_read_while_its_writer_pauses() -> None:
    for changed in ({"a.yaml": stamp(size=11)}, {"c.yaml": stamp(inode=4)}):
        settling = Debounce(LOADED, somebody)
        assert not settling.due(LOADED | changed, 10.0)
        assert not settling.due(LOADED | changed, 10.0 + LONGEST_WAIT - 0.1)
        assert settling.due(LOADED | changed, 10.0 + LONGEST_WAIT), "it may be open for ever"


def test_a_swapped_link_is_due_at_once_whoever_writes() -> None:
    settling = Debounce(LOADED, somebody)
    assert settling.due(LOADED | {"a.yaml": stamp(inode=3, target="/p/..2/a.yaml")}, 10.0)


def test_a_rename_beside_a_file_written_in_place_has_to_rest() -> None:
    changed = {"a.yaml": stamp(inode=3), "b.yaml": stamp(inode=2, size=11)}
    assert not Debounce(LOADED, nobody).due(changed, 10.0)


def test_a_file_that_comes_or_goes_has_to_rest() -> None:
    for changed in (LOADED | {"c.yaml": stamp(inode=4)}, {"a.yaml": stamp()}, {}):
        settling = Debounce(LOADED, nobody)
        assert not settling.due(changed, 10.0)
        assert settling.due(changed, 11.0)


def test_what_was_tried_is_not_tried_again() -> None:
    settling = Debounce(LOADED, nobody)
    changed = LOADED | {"a.yaml": stamp(inode=3)}
    assert settling.due(changed, 10.0)
    settling.note_tried(changed)
    assert not settling.due(changed, 20.0)
    assert settling.due(LOADED, 21.0) is True, "back to the file that was there before"


def test_the_kernel_tells_whether_a_file_is_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\n")
    with path.open("a"):
        assert is_open_for_writing(path) is True
    assert is_open_for_writing(path) is False
    assert is_open_for_writing(tmp_path / "missing.yaml") is None
