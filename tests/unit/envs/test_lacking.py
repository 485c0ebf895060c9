"""What a machine lacks is skipped, but not in CI."""

import pytest
from tests.lacking import lacks


def test_what_is_missing_is_skipped_with_a_reason(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(BaseException, match="no SLURM here") as raised:
        lacks("no SLURM here")
    assert raised.typename == "Skipped"


def test_nothing_may_be_missing_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no SLURM here; nothing may be missing"):
        lacks("no SLURM here")
