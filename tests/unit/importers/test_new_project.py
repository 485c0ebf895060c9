"""New projects from plates and tracks pass the checks, and say what was found."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.index.index_examples import TWO_WELLS, make_experiment

from dynaclr.config import UserError
from dynaclr.config.project import load_project
from dynaclr.importers import ImportOptions, import_stacks
from dynaclr.importers.new_project import (
    DIAMETERS,
    MULTIPLE,
    patch_edge,
    propose_entry,
    write_project,
)
from dynaclr.io import check_all_on_disk


@pytest.fixture
def experiment(tmp_path: Path):
    return partial(make_experiment, tmp_path)


@pytest.fixture
def template(repository: Path) -> Path:
    return repository / "config" / "template"


def proposed_from(entry, name="mine"):
    return propose_entry(entry.data_path, entry.tracks_path, name, 20)


def test_a_plate_and_its_tracks_become_a_project_that_passes_the_checks(
    experiment, template, tmp_path
):
    entry = experiment(TWO_WELLS)
    [found] = write_project(tmp_path / "my", template, proposed=proposed_from(entry))
    assert (found.fields, found.depth, found.lineages) == (4, 1, 8)
    project = load_project(tmp_path / "my/config.yaml", check_files=check_all_on_disk)
    assert project.registry["mine"].condition_of_well == {"A/1": "untreated", "B/1": "untreated"}
    assert project.registry["mine"].markers == ["phase", "gfp"]
    assert project.collections["all"].validation_fov_fraction == 0.25


def test_further_plates_are_added_and_nothing_is_overwritten(experiment, template, tmp_path):
    out = tmp_path / "my"
    first, second = (experiment(TWO_WELLS, name=name) for name in ("one", "two"))
    write_project(out, template, proposed=proposed_from(first))
    before = (out / "config.yaml").read_text()
    write_project(out, template, proposed=proposed_from(second, "other"))
    assert (out / "config.yaml").read_text() == before
    assert list(load_project(out / "config.yaml").registry) == ["mine", "other"]
    with pytest.raises(UserError, match=r"other\.yaml: exists already. Choose another --name"):
        write_project(out, template, proposed=proposed_from(second, "other"))


def test_imported_movies_are_used_where_they_lie_with_their_labels_as_tasks(template, tmp_path):
    import tifffile

    family = TWO_WELLS["A/1/0"]
    tracks = pd.concat([family, family.assign(track_id=family["track_id"] + 100)])
    tracks.assign(parent_track_id=-1).to_csv(tmp_path / "tracks.csv", index=False)
    labels = tracks[["track_id", "t"]].assign(state=np.where(tracks["t"] > 3, "late", "early"))
    labels.assign(area=np.arange(len(labels))).to_csv(tmp_path / "labels.csv", index=False)
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((10, 40, 60), np.uint8), metadata={"axes": "TYX"}
    )
    for name in ("first", "second"):
        import_stacks(
            {"Phase": tmp_path / "stack.tif"},
            tmp_path / "tracks.csv",
            tmp_path / name,
            ImportOptions(30, pixel_size_um=0.5 if name == "first" else 1.0),
            labels=tmp_path / "labels.csv",
        )
    entries = [tmp_path / name / "experiment.yaml" for name in ("first", "second")]
    write_project(tmp_path / "my", template, entries=entries)
    project = load_project(tmp_path / "my/config.yaml", check_files=check_all_on_disk)
    assert [task.label for task in project.evaluation.tasks] == ["state"]
    assert project.collections["all"].validation_lineage_fraction == 0.25
    training = yaml.safe_load((tmp_path / "my/training/cpu.yaml").read_text())
    assert training["data"]["patches"]["reference_pixel_size_um"] == 0.75


def test_without_an_experiment_or_with_a_broken_one_nothing_is_written(
    experiment, template, tmp_path
):
    with pytest.raises(UserError, match="no experiment given"):
        write_project(tmp_path / "my", template)
    entry = experiment({"A/1/0": "track_id,t,y\n1,0,3\n"})
    with pytest.raises(UserError, match="x"):
        write_project(tmp_path / "my", template, proposed=proposed_from(entry))
    assert not (tmp_path / "my").exists()


@given(st.floats(1, 500), st.floats(0.05, 5))
def test_a_patch_shows_one_and_a_half_diameters_as_far_as_sizes_allow(diameter, pixel):
    size = patch_edge(diameter, pixel)
    assert size % MULTIPLE == 0
    wanted = DIAMETERS * diameter / pixel
    assert abs(size - min(max(wanted, 24), 256)) <= MULTIPLE / 2
