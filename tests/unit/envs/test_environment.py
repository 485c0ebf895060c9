"""The conda environment says what the lock file says."""

import importlib.util
from pathlib import Path

import yaml


def test_conda_environment_is_the_lock_file(repository: Path):
    folder = repository / "envs"
    spec = importlib.util.spec_from_file_location("write", folder / "write_environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (folder / "environment.yaml").read_text()
    assert text == module.environment(), "run `make environment`"
    pinned = yaml.safe_load(text)["dependencies"][-1]["pip"]
    assert "snakemake-executor-plugin-slurm" in {line.split("==")[0] for line in pinned}
    assert len(pinned) > 100
