"""The state directory takes what is the gateway's, and keeps nothing that was written in part."""

import resource
from pathlib import Path

import pytest

from gateway.children.uids import Uids
from gateway.domain.errors import OperationError
from gateway.store.state_dir import PEPPER, own_key, prepare


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_directory_with_files_of_the_gateways_own_is_closed_to_others(state: Path) -> None:
    own_key(state, PEPPER)
    Uids(state, None).prepare()
    Uids(state, (70_000, 70_100)).prepare()
    state.chmod(0o755)
    assert prepare(state).stat().st_mode & 0o777 == 0o700


def test_a_key_that_cannot_be_written_leaves_nothing_and_names_its_place(state: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk does it: the file is made, and takes no byte.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OperationError) as refused:
            own_key(state, PEPPER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(state / "pepper") in str(refused.value)
    assert list(state.iterdir()) == []
    assert own_key(state, PEPPER) == own_key(state, PEPPER)
