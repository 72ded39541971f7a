"""Each test of a child runs under every isolation that this machine offers."""

from pathlib import Path

import pytest

from gateway.children.process import Launcher
from gateway.domain.children import Isolation
from tests.children.programs import launcher_of, needs


@pytest.fixture(params=list(Isolation))
def isolation(request: pytest.FixtureRequest) -> Isolation:
    wanted: Isolation = request.param
    needs(wanted)
    return wanted


@pytest.fixture
def launcher(isolation: Isolation, tmp_path: Path) -> Launcher:
    return launcher_of(isolation, tmp_path)
