"""What `snakemake --profile slurm` finds in a clone."""

from pathlib import Path

import yaml


def test_slurm_is_a_profile_of_the_clone(repository: Path):
    profile = repository / "slurm"
    assert profile.resolve() == repository / "workflow/profiles/slurm"
    settings = yaml.safe_load((profile / "profile.yaml").read_text())
    assert settings["executor"] == "slurm"
    assert settings["keep-going"]
