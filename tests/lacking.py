"""What a test needs and a machine may lack: skipped for developers, a failure in CI."""

import os
from typing import NoReturn

import pytest


def lacks(what: str) -> NoReturn:
    """End a test that cannot run here; in CI, which installs everything, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}; nothing may be missing in CI")
    pytest.skip(what)
