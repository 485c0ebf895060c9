"""Broken configurations: one message that names the file, the key and the fix."""

import copy
import shutil
import subprocess
import sys

import pytest
import yaml

from dynaclr.cli.project import check
from dynaclr.config import UserError, load_entry
from dynaclr.config.project import Project
from dynaclr.config.project import load_project as load_project_of
from dynaclr.config.training import load_training
from dynaclr.io import check_all_on_disk


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


def missing_plate(content, folder):
    shutil.rmtree(folder / "one.zarr")


def unknown_channel(content, folder):
    content["experiments"][0]["channels"][1]["name"] = "GPF"


def typo_in_key(content, folder):
    content["experiments"][0]["intervall_minutes"] = content["experiments"][0].pop(
        "interval_minutes"
    )


def well_in_two_conditions(content, folder):
    content["experiments"][0]["condition_wells"]["infected"] = ["A/1", "B/1"]


def duplicate_name(content, folder):
    content["experiments"].append(copy.deepcopy(content["experiments"][0]))


def negative_interval(content, folder):
    content["experiments"][0]["interval_minutes"] = -5


def in_train_and_validation(content, folder):
    content["collections"]["both"]["validation"] = ["one"]


def no_validation(content, folder):
    del content["collections"]["both"]["validation"]


def missing_tracks(content, folder):
    shutil.rmtree(folder / "one-tracks")


def empty_list(content, folder):
    content["experiments"] = []


def unknown_experiment(content, folder):
    content["collections"]["both"]["train"] = ["onne"]


def unknown_well(content, folder):
    content["experiments"][0]["condition_wells"]["mock"] = ["A/2"]


def compared_model_unknown(content, folder):
    content["comparison"] = {"contrasts": [["small", "smal"]]}


def held_out_of_collection_is_trained_on(content, folder):
    content["collections"]["both"]["held_out"] = content["collections"]["both"]["train"]


def control_is_no_condition(content, folder):
    content["evaluation"] = {"control": "mok"}


def held_out_is_trained_on(content, folder):
    content["evaluation"]["experiments"] = ["one"]


def unset_variable(content, folder):
    content["experiments"][0]["data_path"] = "${DYNACLR_NOT_SET}/one.zarr"


def missing_training(content, folder):
    (folder / "training.yaml").unlink()


def text_for_list(content, folder):
    content["experiments"] = "experiments/*.yaml"


def folder_for_file(content, folder):
    (folder / "entries").mkdir()
    content["experiments"] = ["entries"]


def latin_1_training(content, folder):
    (folder / "training.yaml").write_bytes("model: {}\n# Größe\n".encode("latin-1"))


def broken_training(content, folder):
    (folder / "training.yaml").write_text("model: {}\ndata: [a\n")
    content["models"]["again"] = content["models"]["small"]


def training_without_keys(content, folder):
    (folder / "training.yaml").write_text("- model\n")


def override_through_number(content, folder):
    (folder / "training.yaml").write_text("model: {learning_rate: 0.1}\n")
    content["models"]["small"]["overrides"] = {"model.learning_rate.x": 1}


def override_through_list(content, folder):
    (folder / "training.yaml").write_text("data: {augmentations: [flip]}\n")
    content["models"]["small"]["overrides"] = {"data.augmentations.0.p": 1}


def override_through_nothing(content, folder):
    (folder / "training.yaml").write_text("trainer:\n")
    content["models"]["small"]["overrides"] = {"trainer.max_epochs": 1}


def negative_seed(content, folder):
    content["models"]["small"]["seeds"] = [0, -1]


def too_large_seed(content, folder):
    content["models"]["small"]["seeds"] = [2**32]


def seed_twice(content, folder):
    content["models"]["small"]["seeds"] = [1, 0, 1]


def trained_on_twice(content, folder):
    content["collections"]["both"]["train"] = ["one", "one"]


def validated_twice(content, folder):
    content["collections"]["both"]["validation"] = ["two", "two"]


def held_out_twice(content, folder):
    content["evaluation"]["experiments"] = ["three", "three"]


def task_twice(content, folder):
    content["evaluation"]["tasks"] *= 2


def few_shuffles(content, folder):
    content["evaluation"]["shuffles"] = 29


def nothing_held_out(content, folder):
    content["evaluation"]["experiments"] = []
    content["collections"]["both"] = {"train": ["one"], "validation_fov_fraction": 0.5}


def missing_checkpoint(content, folder):
    content["models"]["small"]["overrides"] = {"model.encoder_checkpoint": "absent.ckpt"}


def last_checkpoint(content, folder):
    last = "results/models/small/seed0/last.ckpt"
    content["models"]["small"]["overrides"] = {"model.encoder_checkpoint": last}


BROKEN = {
    missing_checkpoint: (
        "models.small: encoder_checkpoint",
        "no checkpoint 'absent.ckpt'",
        "Known",
    ),
    last_checkpoint: ("no checkpoint 'results/models/small/seed0/last.ckpt'", "/best.ckpt'? Known"),
    text_for_list: ("experiments: must be a list", "[experiments/*.yaml]"),
    folder_for_file: ("entries: is a folder", "entries/*.yaml"),
    latin_1_training: ("training.yaml", "no UTF-8 text at line 2", "Save it"),
    broken_training: ("training.yaml: not valid YAML at line 3", "Correct it"),
    training_without_keys: ("training.yaml: is no mapping", "config/README.md"),
    override_through_number: ("models.small.overrides", "model.learning_rate is 0.1", "correct"),
    override_through_list: ("models.small.overrides", "data.augmentations is ['flip']", "correct"),
    override_through_nothing: ("models.small.overrides", "trainer is None", "correct the key"),
    negative_seed: ("models.small.seeds.1", "greater than or equal to 0", "-1", "Correct"),
    too_large_seed: ("models.small.seeds.0", "less than 4294967296", "Correct"),
    seed_twice: ("models.small.seeds", "1 is listed twice", "Name each one once"),
    trained_on_twice: ("collections.both.train", "one is listed twice", "Name each one once"),
    validated_twice: ("collections.both.validation", "two is listed twice", "Name each one once"),
    held_out_twice: ("evaluation.experiments", "three is listed twice", "Name each one once"),
    task_twice: ("evaluation: tasks", "task is listed twice", "Name each one once"),
    few_shuffles: ("evaluation.shuffles", "29 shuffles make no null", "30 or more, or 0 for none"),
    nothing_held_out: ("evaluation.experiments", "nothing is held out", "'both'", "Name held-out"),
    missing_plate: ("one", "data_path", "no such plate", "Correct `data_path`"),
    unknown_channel: ("one", "channels", "no channel 'GPF'", "Did you mean 'GFP'?"),
    typo_in_key: ("one", "intervall_minutes: unknown key", "Did you mean 'interval_minutes'?"),
    well_in_two_conditions: ("one", "well A/1 is listed in both", "Remove it from one"),
    duplicate_name: ("experiment one", "is listed twice", "Give each experiment its own name"),
    negative_interval: ("one", "interval_minutes", "greater than 0", "-5", "Correct the value"),
    in_train_and_validation: (
        "collections.both",
        "both train and validation",
        "Remove it from one",
    ),
    no_validation: ("collections.both", "no validation data", "Name experiments under"),
    missing_tracks: ("one", "tracks_path", "is no folder", "Correct the path"),
    empty_list: ("experiments", "at least 1", "Correct the value"),
    unknown_experiment: ("collections.both.train", "'onne'", "Did you mean 'one'?"),
    unknown_well: ("one", "condition_wells", "no well 'A/2'", "Did you mean 'A/1'?"),
    compared_model_unknown: ("comparison.contrasts.0", "'smal'", "Did you mean 'small'?"),
    held_out_of_collection_is_trained_on: ("both train and held_out", "Remove it from one"),
    control_is_no_condition: ("evaluation.control", "no condition 'mok'", "mean 'mock'?"),
    held_out_is_trained_on: ("evaluation.experiments", "one is held out", "Remove it from one"),
    unset_variable: ("one", "data_path", "DYNACLR_NOT_SET is not set", "Set it"),
    missing_training: ("models.small.training", "is no file", "Correct it"),
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_broken_configuration_is_an_error(damage, project, save, tmp_path):
    damage(project, tmp_path)
    path = save(project)
    with pytest.raises(UserError) as error:
        load_project(path)
    message = str(error.value)
    for part in BROKEN[damage]:
        assert part in message
    assert "problems:" not in message, "one error is one message"


def test_several_errors_are_shown_at_once(project, save, tmp_path):
    for damage in (typo_in_key, in_train_and_validation, missing_training):
        damage(project, tmp_path)
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
    teacher = {"class_path": "Multi", "init_args": {"teacher_checkpoint": best}}
    project["models"]["large"]["overrides"] = {"model": teacher}
    project["models"]["small"] = small
    checkpoints = load_project(save(project)).checkpoints
    assert checkpoints == {
        f"results/models/{name}/seed0/best.ckpt": name for name in project["models"]
    }


@pytest.mark.parametrize("change", [unknown_channel, unknown_well, missing_tracks, missing_plate])
def test_plate_of_a_simulation_is_not_checked(change, project, save, tmp_path):
    project["experiments"][0]["simulation"] = {"seed": 1}
    change(project, tmp_path)
    load_project(save(project))


def test_folder_as_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is a folder. Name a YAML file in it"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a", r"not valid YAML at line 2: did not find expected"),
        ("{date: 2024-13-45}", r"not valid YAML: month must be in 1..12"),
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
