"""Fixtures of the index tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from index_examples import make_experiment

from dynaclr.config import ExperimentConfig


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """Make an experiment in this test's folder, from tables by field of view."""
    return partial(make_experiment, tmp_path)
