"""What a patch store depends on of the models that read from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.config.conftest import write_experiment

from dynaclr.config import UserError
from dynaclr.config.patch_specs import patch_specs_of
from dynaclr.config.project import Project, load_project
from dynaclr.data.patch_store.requirements import check_patch_specs

PATCHES = {"markers": ["phase"], "size": [16, 16]}


def project_of(folder: Path, store: object, trainings: dict) -> tuple[Project, dict]:
    """A project whose models have these data sections, and the trainings by model."""
    entries = [write_experiment(folder, name) for name in ("one", "two")]
    (folder / "training.yaml").write_text("model: {}\n")
    content = {
        "experiments": [entry | {"patches": store} for entry in entries],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {n: {"collection": "both", "training": "training.yaml"} for n in trainings},
    }
    project = load_project(content, folder / "project.yaml")
    return project, {name: {"data": data} for name, data in trainings.items()}


def test_patch_specs_hold_what_the_store_depends_on(tmp_path):
    large = {"patches": PATCHES | {"size": [20, 20]}, "batch_size": 8}
    margin = {"patches": PATCHES, "extraction_size": [20, 20], "normalization": {"center": "mean"}}
    later = {"patches": PATCHES | {"projection": "max", "bag_of_channels": True}}
    models = {"a": large, "b": margin, "c": later, "d": {"patches": PATCHES}}
    project, trainings = project_of(tmp_path, True, models)
    found = patch_specs_of(project, "one", trainings.__getitem__)
    assert found == [
        {"patches": PATCHES, "extraction_size": [20, 20]},
        {"patches": PATCHES},
        {"patches": PATCHES | {"size": [20, 20]}},
    ]
    turned = replace(project, models=dict(reversed(project.models.items())))
    assert patch_specs_of(turned, "one", trainings.__getitem__) == found
    assert patch_specs_of(project, "two", trainings.__getitem__) == found[1:]


def test_normalization_counts_where_pixels_are_normalized(tmp_path):
    other = {"patches": PATCHES, "normalization": {"center": "mean"}}
    same = {"patches": PATCHES, "normalization": {"center": "median"}}
    models = {"a": {"patches": PATCHES}, "b": same}
    project, trainings = project_of(tmp_path, {"dtype": "uint8"}, models | {"c": other})
    entry = project.registry["one"]
    found = patch_specs_of(project, "one", trainings.__getitem__)
    assert len(found) == 3
    with pytest.raises(UserError, match="normalize differently, and dtype is uint8"):
        check_patch_specs(entry, found)
    check_patch_specs(entry, [spec for spec in found if spec != other])


def test_experiment_without_a_store_has_no_patch_specs(tmp_path):
    project, trainings = project_of(tmp_path, False, {"a": {"patches": PATCHES}})
    assert patch_specs_of(project, "one", trainings.__getitem__) == []
    check_patch_specs(project.registry["one"], [])


def test_windows_need_stacks_of_one_depth(tmp_path):
    deep = {"patches": PATCHES | {"depth": 3}}
    project, trainings = project_of(tmp_path, True, {"a": deep, "b": {"patches": PATCHES}})
    entry, specs = project.registry["one"], patch_specs_of(project, "one", trainings.__getitem__)
    check_patch_specs(entry, specs)
    path = entry.data_path / "B/1/0/0/.zarray"
    metadata = json.loads(path.read_text())
    metadata["shape"][2] = 5
    path.write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="different windows of stacks that differ in depth"):
        check_patch_specs(entry, specs)
    check_patch_specs(entry, specs[:1])


@pytest.mark.parametrize(
    "left_out", [{"exclude_fovs": ["B/1/0"]}, {"include_wells": ["A/1"]}, "no condition"]
)
def test_depth_of_fields_of_view_that_are_left_out_does_not_count(tmp_path, left_out):
    deep = {"patches": PATCHES | {"depth": 3}}
    project, trainings = project_of(tmp_path, True, {"a": deep, "b": {"patches": PATCHES}})
    entry, specs = project.registry["one"], patch_specs_of(project, "one", trainings.__getitem__)
    path = entry.data_path / "B/1/0/0/.zarray"
    metadata = json.loads(path.read_text())
    metadata["shape"][2] = 5
    path.write_text(json.dumps(metadata))
    if left_out == "no condition":
        left_out = {"condition_wells": {"mock": ["A/1"]}}
    check_patch_specs(entry.model_copy(update=left_out), specs)
