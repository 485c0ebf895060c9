"""What jobs would ask of a cluster, from a dry run."""

import copy
import re

import pytest
import yaml

from tests.workflow.conftest import Workflow, entry_of
from tests.workflow.finished_project import TRAINING
from tests.workflow.test_simulated import SIMULATION

pytestmark = pytest.mark.slow
OWN_PROFILE = ("--default-resources", "slurm_partition=mine")


class ClusterWorkflow(Workflow):
    """A project folder with the settings of a site."""

    site = ""

    def environment(self) -> dict[str, str]:
        """Environment with the site's settings."""
        return super().environment() | {"DYNACLR_SITE": self.site}

    def resources(self, *arguments: str) -> dict[str, dict[str, str]]:
        """Resources of a job of each rule; of trainings and embeddings, by model too."""
        said = self.run("--dry-run", *arguments)
        jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)*)", said, flags=re.MULTILINE)
        found = {}
        for rule, details in jobs:
            model = re.search(r"wildcards: .*model=(\w+)", details)
            asked = dict(re.findall(r"(\w+)=([^,\n]+)", details.split("resources: ")[1]))
            found[f"{rule} {model[1]}" if model else rule] = asked
        return found


@pytest.fixture
def project(tmp_path) -> ClusterWorkflow:
    """A model that takes a GPU where there is one, and one that does not."""
    on_cpus = copy.deepcopy(TRAINING) | {"trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    (tmp_path / "either.yaml").write_text(yaml.safe_dump(TRAINING))
    (tmp_path / "cpu.yaml").write_text(yaml.safe_dump(on_cpus))
    project = ClusterWorkflow(tmp_path)
    project.config = {
        "experiments": [entry_of(name) | {"simulation": SIMULATION} for name in ("one", "two")],
        "collections": {"all": {"train": ["one"], "validation": ["two"]}},
        "models": {
            name: {"collection": "all", "training": f"{name}.yaml", "threads": 1}
            for name in ("either", "cpu")
        },
    }
    return project


def test_what_the_site_leaves_open_its_profile_says(project):
    project.site = "{}"
    asked = project.resources(*OWN_PROFILE)
    assert {job["slurm_partition"] for job in asked.values()} == {"mine"}
    project.site = "{gpu_partition: gpus}"
    asked = project.resources(*OWN_PROFILE)
    with_gpus = {"train either", "embed either"}
    assert {name for name in asked if asked[name].get("slurm_partition") == "gpus"} == with_gpus
    assert {name for name in asked if asked[name].get("gres") == "gpu:1"} == with_gpus
    # Models on CPUs go to the cluster's default partition.
    on_cpus = {"train cpu", "embed cpu"}
    assert [asked[name].get("slurm_partition") for name in on_cpus] == [None, None]
    others = asked.keys() - with_gpus - on_cpus
    assert {asked[name]["slurm_partition"] for name in others} == {"mine"}


def test_tried_again_jobs_ask_for_more_up_to_what_the_site_has(project):
    project.site = "{partition: cpu, gpu_partition: gpus, cpus_per_gpu: 4, max_mb: 20000}"
    by_attempt = [project.resources("--attempt", str(attempt)) for attempt in (1, 2, 3)]
    index = [int(asked["index"]["mem_mb"]) for asked in by_attempt]
    assert index == [index[0], 2 * index[0], 4 * index[0]]
    assert [int(asked["index"]["runtime"]) for asked in by_attempt] == [10, 20, 40]
    on_cpu = [int(asked["train cpu"]["mem_mb"]) for asked in by_attempt]
    assert on_cpu == [on_cpu[0], 2 * on_cpu[0], 2 * on_cpu[0]], "it is merely continued"
    either = [int(asked["train either"]["mem_mb"]) for asked in by_attempt]
    assert either[0] > on_cpu[0], "three loaders more, for training and for validation"
    assert either[1] <= 20_000
    assert {asked["train either"]["runtime"] for asked in by_attempt} == {"720"}
