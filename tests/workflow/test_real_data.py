"""The whole workflow on real movies: import, index, training, evaluation, report."""

import numpy as np
import pandas as pd
import pytest
import yaml

from dynaclr.importers import ImportOptions, import_ctc, import_stacks
from tests.workflow.conftest import Workflow

# From the README of the data folder: observations, tracks, divisions.
COUNTS = {
    "ecoli_phase_ctc": (3519, 714, 356),
    "ecoli_phase_foci": (1148, 44, 16),
    "t98g_phase_gaps": (799, 34, 0),
}

TRAINING = {
    "model": {
        "encoder": {
            "class_path": "dynaclr.models.SmallEncoder",
            "init_args": {"in_channels": 1, "width": 8},
        },
    },
    "data": {
        "patches": {"markers": ["phase"], "size": [32, 32]},
        # One frame is one interval of an hour: the sources do not state theirs.
        "tau_range": [1, 3],
        "sampling": {"stratify_by": None},
        "batch_size": 64,
    },
    "trainer": {"max_epochs": 1},
}


def import_real_data(folder, shared_data) -> None:
    """Import the three sets, phase channel, into ``<folder>/<name>``."""
    options = ImportOptions(interval_minutes=60, markers={"Phase": "phase"})
    ctc = shared_data / "ecoli_phase_ctc"
    import_ctc(ctc, folder / ctc.name, options, labels=ctc / "01.labels.csv")
    for name in ("ecoli_phase_foci", "t98g_phase_gaps"):
        source = shared_data / name
        labels = source / "01.labels.csv"
        import_stacks(
            {"Phase": source / "01_phase.tif"},
            source / "01.tracks.csv",
            folder / name,
            options,
            labels=labels if labels.exists() else None,
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory, shared_data) -> Workflow:
    """The finished project."""
    folder = tmp_path_factory.mktemp("real")
    import_real_data(folder, shared_data)
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    project = Workflow(folder)
    project.config = {
        "experiments": ["*/experiment.yaml"],
        "collections": {
            "phase": {
                "train": ["ecoli_phase_ctc", "t98g_phase_gaps"],
                "validation": ["ecoli_phase_foci"],
            }
        },
        "models": {"phase": {"collection": "phase", "training": "training.yaml", "threads": 1}},
        "evaluation": {
            "tasks": [{"name": "division", "label": "divides_within_3"}],
            "bootstrap": 10,
            "shuffles": 0,
        },
    }
    project.run()
    return project


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", COUNTS)
def test_every_track_parent_and_division_is_that_of_the_source(project, shared_data, name):
    cells = pd.read_parquet(project.folder / f"results/experiments/{name}/cells.parquet")
    source = pd.read_csv(shared_data / name / "01.tracks.csv").sort_values(["track_id", "t"])
    cells = cells.sort_values(["track_id", "t"])
    for column in ("track_id", "t", "parent_track_id"):
        np.testing.assert_array_equal(cells[column], source[column])
    np.testing.assert_allclose(cells[["y", "x"]], source[["y", "x"]], atol=2e-3)
    daughters = source[source["parent_track_id"] >= 0].groupby("parent_track_id")["track_id"]
    divisions = int((daughters.nunique() >= 2).sum())
    counts = project.json(f"results/experiments/{name}/summary.json")["counts"]
    measured = (counts["rows"], counts["tracks"], counts["divisions"])
    assert measured == (len(source), source["track_id"].nunique(), divisions) == COUNTS[name]


def test_gaps_are_kept_as_gaps(project):
    cells = pd.read_parquet(project.folder / "results/experiments/t98g_phase_gaps/cells.parquet")
    steps = cells.sort_values(["track_id", "t"]).groupby("track_id")["t"].diff().dropna()
    assert (steps > 1).any()


def test_report_and_held_out_scores_exist(project):
    assert (project.folder / "results/report.html").stat().st_size > 100_000
    metrics = pd.read_csv(project.folder / "results/evaluation/phase/metrics.csv")
    held_out = metrics[
        (metrics["experiment"] == "ecoli_phase_foci") & (metrics["metric"] == "auroc")
    ]
    kinds = {"trained", "untrained", "intensity", "texture", "pixels"}
    # No control condition was named, so that nothing is transported.
    assert set(held_out["kind"]) == kinds | {f"{kind}+zscore" for kind in kinds}
    assert held_out["value"].between(0, 1).all()
    assert "Nothing to be done" in project.run()
