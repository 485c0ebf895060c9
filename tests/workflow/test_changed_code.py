"""What reruns when code changes: exactly the stages that import it, and what follows from them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import REPOSITORY, Workflow, jobs_in
from tests.workflow.finished_project import OF_B, finished, of_model, project  # noqa: F401

pytestmark = pytest.mark.slow

LAST = {"report", "all"}
OF_SCORES = {"score", "evaluate", "map_cells", "draw_evaluation"} | LAST
OF_EVALUATION = {"fit_evaluation"} | OF_SCORES
OF_BASELINES = {"fit_pixels", "embed_baselines"}
OF_TRAINING = {"train", "draw_training", "embed"} | OF_EVALUATION
OF_PATCHES = {"thumbnails", "inspect_batches"} | OF_BASELINES | OF_TRAINING
# Module to the rules of which some job runs.
RERUN = {
    "index/lineage.py": {"index", "labels", "merge", "draw_experiment", "draw_collection"}
    | OF_PATCHES,
    "data/statistics/distribution.py": {"statistics", "draw_experiment"} | OF_PATCHES,
    "index/split.py": {"merge", "draw_collection"} | OF_PATCHES,
    "sampling/windows.py": {"inspect_batches"} | OF_TRAINING,
    "losses/ntxent.py": OF_TRAINING,
    "training/callbacks.py": OF_TRAINING,
    "models/pixels.py": OF_BASELINES | OF_EVALUATION,
    "inference/thumbnails.py": {"thumbnails"} | LAST,
    "evaluation/metrics/mixing.py": OF_SCORES,
    "config/evaluation.py": OF_EVALUATION,
    "report/explorer.py": LAST,
    "figures/tracks.py": {"draw_experiment"} | LAST,
    "figures/metric_panels.py": {"draw_evaluation"} | LAST,
    "figures/batches.py": {"inspect_batches"} | LAST,
    "models/resnet3d.py": set(),
    "data/patch_store/builder.py": set(),
    "config/report.py": set(),
    "config/site.py": set(),
    "workflow/slurm.py": set(),
    "cli/run.py": set(),
}


@dataclass
class CopiedWorkflow(Workflow):
    """A project run by a copy of this repository, whose code may be changed."""

    copy: Path

    def command(self, *arguments: str) -> list[str]:
        """Command line with the copy's rules."""
        given = super().command(*arguments)
        given[given.index("--snakefile") + 1] = str(self.copy / "Snakefile")
        return given

    def environment(self) -> dict[str, str]:
        """Environment with the copy's package."""
        return super().environment() | {"PYTHONPATH": str(self.copy / "src")}

    def rules(self) -> set[str]:
        """Rules of which some job would run."""
        return {job.split()[0] for job in jobs_in(self.run("--dry-run"))}


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory) -> CopiedWorkflow:  # noqa: F811
    """The finished project and a copy of the repository."""
    folder = tmp_path_factory.mktemp("changed")
    for name in ("src", "workflow", "envs"):
        shutil.copytree(REPOSITORY / name, folder / "repository" / name)
    shutil.copy(REPOSITORY / "Snakefile", folder / "repository")
    shutil.copytree(finished, folder / "project", symlinks=True)
    return CopiedWorkflow(folder / "project", folder / "repository")


@pytest.mark.parametrize("module", RERUN)
def test_a_changed_constant_reruns_the_stages_that_use_it(copied, module):
    file = copied.copy / "src/dynaclr" / module
    before = file.read_text()
    file.write_text(before + "\n_CHANGED = 1\n")
    try:
        assert copied.rules() == RERUN[module]
    finally:
        file.write_text(before)


def test_a_changed_help_text_of_a_slurm_setting_reruns_nothing(copied):
    file = copied.copy / "src/dynaclr/config/site.py"
    before = file.read_text()
    file.write_text(before.replace("Account that jobs are charged to.", "Who pays."))
    try:
        assert file.read_text() != before
        assert copied.rules() == set()
    finally:
        file.write_text(before)


def test_an_edited_encoder_of_the_user_reruns_its_models_alone(project):  # noqa: F811
    encoder = project.folder / "my_encoder.py"
    encoder.write_text(encoder.read_text() + "\n\n# A comment changes nothing.\n")
    assert jobs_in(project.run("--dry-run")) == []
    encoder.write_text(encoder.read_text().replace("width=8", "width=16"))
    assert jobs_in(project.run("--dry-run")) == sorted([*of_model("b", OF_B), "report", "all"])
    trained = "results/models/b/seed0/best.ckpt"
    assert project.jobs(trained) == ["train model=b seed=0"]
