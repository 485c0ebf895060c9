"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real time-lapse data that lies beside the project's own checkout, not with its users."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing; CI tests on the real data")
        pytest.skip("the real data sets of the project's own checkout are not here")
    return path
