"""Broken configurations: one message that names the file, the key and the fix."""

import subprocess
import sys

import pytest
import yaml

from dynaclr.cli.project import check
from dynaclr.config import UserError, load_entry
from dynaclr.config.pretrained import frozen_settings
from dynaclr.config.project import Project
from dynaclr.config.project import load_project as load_project_of
from dynaclr.config.training import load_training
from dynaclr.io import check_all_on_disk
from tests.unit.config.broken import BROKEN


def load_project(source) -> Project:
    """As the workflow does: with all checks."""
    return load_project_of(source, check_files=check_all_on_disk)


def test_sound_project_loads(project, save):
    loaded = load_project(save(project))
    assert list(loaded.registry) == ["one", "three", "two"]
    assert loaded.experiments_of("small") == ["one", "three", "two"]
    assert loaded.collection_of("small").train == ["one"]


def test_a_collection_may_hold_out_experiments_of_its_own(project, save):
    project["collections"]["both"]["held_out"] = ["two"]
    loaded = load_project(save(project))
    assert loaded.held_out_of("small") == ["two"]
    assert loaded.collection_of("small").validation == ["two"]
    assert loaded.experiments_of("small") == ["one", "two"]


@pytest.mark.parametrize("shuffles", [0, 30])
def test_shuffles_are_none_or_enough(shuffles, project, save):
    project["evaluation"]["shuffles"] = shuffles
    assert load_project(save(project)).evaluation.shuffles == shuffles


def test_comparison_gives_its_models_their_seeds(project, save):
    loaded = load_project(save(project | {"comparison": {"seeds": [4, 5]}}))
    assert loaded.comparison.models == ["small"]
    assert loaded.models["small"].seeds == [4, 5]


def test_a_frozen_model_embeds_what_is_held_out_and_keeps_the_seed_of_its_weights(
    project, save, tmp_path
):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(b"weights")
    (folder / "provenance.json").write_text('{"seed": 7}')
    settings = {
        "model": {"encoder_checkpoint": "start.ckpt", "learning_rate": 0.1},
        "data": {"patches": {"size": [9, 9]}, "batch_size": 4},
        "trainer": {"accelerator": "gpu", "devices": 8},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    project["models"]["frozen"] = {"pretrained": str(folder)}
    project["comparison"] = {"seeds": [1, 2]}
    loaded = load_project(save(project))
    assert loaded.models["frozen"].seeds == [7]
    assert loaded.models["small"].seeds == [1, 2]
    assert loaded.experiments_of("frozen") == ["three"]
    assert loaded.held_out_of("frozen") == []
    assert loaded.trained == ["small"]
    assert loaded.settings()["frozen"] == {
        "model": {
            "class_path": "dynaclr.training.ContrastiveModule",
            "init_args": {"learning_rate": 0.1},
        },
        "data": {"patches": {"size": [9, 9]}},
        "trainer": {"accelerator": "gpu"},
    }
    # With a collection its classifiers are fitted on that, and the others are held out.
    project["models"]["frozen"]["collection"] = "both"
    loaded = load_project(save(project))
    assert loaded.experiments_of("frozen") == ["one", "three", "two"]
    assert loaded.held_out_of("frozen") == ["three"]


@pytest.mark.parametrize(
    ("asked", "small", "frozen"),
    [("auto", True, False), (True, True, True), (False, False, False)],
)
def test_baselines_are_those_of_trained_models_unless_asked_for(
    asked, small, frozen, project, save
):
    best = "results/models/small/seed0"
    project["models"]["frozen"] = {"pretrained": best, "collection": "both"}
    project["evaluation"] |= {"untrained": asked, "baselines": asked}
    loaded = load_project(save(project))
    for has in (loaded.has_untrained, loaded.has_baselines):
        assert (has("small"), has("frozen")) == (small, frozen)


def test_frozen_encoders_fetch_no_weights_to_start_from():
    encoder = {"class_path": "dynaclr.models.ContrastiveEncoder", "init_args": {"in_channels": 1}}
    own = {"class_path": "mine.Encoder", "init_args": {"pretrained": True}}
    for kind, kept in ((encoder, encoder), (own, own)):
        given = kind | {"init_args": kind["init_args"] | {"pretrained": True}}
        per_channel = {"class_path": "PerChannel", "init_args": {"encoder": given}}
        content = {"model": {"encoder": per_channel}, "data": {}}
        found = frozen_settings(content)["model"]["encoder"]["init_args"]["encoder"]
        assert found == kept


def test_entries_from_files_are_relative_to_their_file(project, save, tmp_path):
    folder = tmp_path / "entries"
    folder.mkdir()
    entries = project["experiments"]
    for entry in entries:
        moved = entry | {key: f"../{entry[key]}" for key in ("data_path", "tracks_path")}
        (folder / f"{entry['name']}.yaml").write_text(yaml.safe_dump(moved))
    loaded = load_project(save(project | {"experiments": ["entries/*.yaml"]}))
    assert loaded.registry["one"].data_path == tmp_path / "one.zarr"


def test_environment_variables_expand_in_paths(project, save, monkeypatch, tmp_path):
    monkeypatch.setenv("PLATES", str(tmp_path))
    project["experiments"][0]["data_path"] = "${PLATES}/one.zarr"
    assert load_project(save(project)).registry["one"].data_path == tmp_path / "one.zarr"


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configuration_is_an_error(name, project, save, tmp_path):
    BROKEN[name].apply(project, tmp_path)
    path = save(project)
    with pytest.raises(UserError) as error:
        load_project(path)
    message = str(error.value)
    for part in BROKEN[name].message:
        assert part in message
    assert "problems:" not in message, "one error is one message"


def test_several_errors_are_shown_at_once(project, save, tmp_path):
    for name in ("typo_in_key", "in_train_and_validation", "missing_training"):
        BROKEN[name].apply(project, tmp_path)
    project["experiments"][1]["interval_minutes"] = 0
    with pytest.raises(UserError) as error:
        load_project(save(project))
    for part in ("intervall_minutes", "experiment two", "both train and validation"):
        assert part in str(error.value)


def test_models_that_start_from_each_other_are_refused(project, save):
    small = project["models"]["small"]
    for name, other in (("small", "large"), ("large", "small")):
        best = f"results/models/{other}/seed0/best.ckpt"
        project["models"][name] = small | {"overrides": {"model.encoder_checkpoint": best}}
    with pytest.raises(UserError, match=r"models.small: starts from itself, .* large, small"):
        load_project(save(project))
    project["models"]["large"] = {"pretrained": "results/models/small/seed0"}
    with pytest.raises(UserError, match=r"models.large: starts from itself"):
        load_project(save(project))
    project["models"]["large"] = dict(small)
    teacher = {"class_path": "Multi", "init_args": {"teacher_checkpoint": best}}
    project["models"]["large"]["overrides"] = {"model": teacher}
    project["models"]["small"] = small
    checkpoints = load_project(save(project)).checkpoints
    assert checkpoints == {
        f"results/models/{name}/seed0/best.ckpt": name for name in project["models"]
    }


@pytest.mark.parametrize(
    "name", ["unknown_channel", "unknown_well", "missing_tracks", "missing_plate"]
)
def test_plate_of_a_simulation_is_not_checked(name, project, save, tmp_path):
    project["experiments"][0] |= {"simulation": {"seed": 1}, "pixel_size_um": 0.5}
    BROKEN[name].apply(project, tmp_path)
    load_project(save(project))


def test_folder_as_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is a folder. Name a YAML file in it"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a", r"not valid YAML at line 2: did not find expected"),
        ("{name: \x00}", r"not valid YAML: control characters are not allowed"),
    ],
)
@pytest.mark.parametrize("load", [load_entry, load_training])
def test_broken_text_is_refused(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)


def test_training_files_are_read_without_torch(project, save):
    script = (
        "import sys; from dynaclr.config.project import load_project; "
        "load_project(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(save(project))], check=True)


def test_broken_yaml_names_file_and_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("experiments: [a\ncollections: b\n")
    with pytest.raises(UserError, match=r"config.yaml: not valid YAML at line 2"):
        load_project(path)


def test_overrides_replace_nested_values(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("model:\n  learning_rate: 1\n  other: 2\n")
    content = load_training(path, {"model.learning_rate": 5, "data.batch_size": 3})
    assert content["model"]["init_args"] == {"learning_rate": 5, "other": 2}
    assert content["data"] == {"batch_size": 3}


def test_check_shows_the_training_errors_of_all_models_at_once(project, save, tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(f"model: {{{name}_key: 1}}\n")
        for model in (name, f"{name}_again"):
            project["models"][model] = {"collection": "both", "training": f"{name}.yaml"}
    del project["models"]["small"]
    with pytest.raises(UserError, match=r"(?s)2 problems.*first_key.*second_key"):
        check(str(save(project)))
