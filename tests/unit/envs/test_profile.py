"""What `snakemake --profile slurm` finds in a clone."""

import re
from pathlib import Path

import yaml


def test_slurm_is_a_profile_of_the_clone(repository: Path):
    profile = repository / "slurm"
    assert profile.resolve() == repository / "workflow/profiles/slurm"
    settings = yaml.safe_load((profile / "profile.yaml").read_text())
    assert settings["executor"] == "slurm"
    assert settings["keep-going"]


def test_groups_of_rules_are_those_that_the_profile_sizes(repository: Path):
    settings = yaml.safe_load((repository / "slurm/profile.yaml").read_text())
    sized = {group.partition("=")[0] for group in settings["group-components"]}
    rules = "".join(file.read_text() for file in (repository / "workflow/rules").glob("*.smk"))
    assert set(re.findall(r'cluster\.group\("(\w+)"\)', rules)) == sized
