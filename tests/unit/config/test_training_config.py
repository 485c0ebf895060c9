"""Training files that inherit from others."""

import pytest
import yaml

from dynaclr.config import UserError
from dynaclr.config.training import (
    DEFAULT_MODEL,
    load_training,
    merge_trainings,
    starting_checkpoints,
    with_checkpoints,
)

BASE = {
    "model": {
        "encoder": {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"width": 8}},
        "learning_rate": 0.1,
    },
    "data": {"augmentations": [1, 2], "batch_size": 4},
}


@pytest.fixture
def save(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/base.yaml").write_text(yaml.safe_dump(BASE))

    def write(name, content):
        (tmp_path / name).write_text(yaml.safe_dump(content))
        return tmp_path / name

    return write


def test_sections_are_merged_and_lists_replaced(save):
    changes = {
        "inherits": "base/base.yaml",
        "model": {"encoder": {"init_args": {"width": 16}}},
        "data": {"augmentations": [3]},
        "trainer": {"max_epochs": 2},
    }
    found = load_training(save("child.yaml", changes))
    assert found["model"]["class_path"] == DEFAULT_MODEL
    assert found["model"]["init_args"] == {
        "encoder": {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"width": 16}},
        "learning_rate": 0.1,
    }
    assert found["data"] == {"augmentations": [3], "batch_size": 4}
    assert found["trainer"] == {"max_epochs": 2}
    assert "inherits" not in found


def test_another_class_brings_its_own_arguments(save):
    encoder = {"class_path": "dynaclr.models.ContrastiveEncoder", "init_args": {"in_channels": 1}}
    child = save("child.yaml", {"inherits": "base/base.yaml", "model": {"encoder": encoder}})
    expected = {"encoder": encoder, "learning_rate": 0.1}
    assert load_training(child)["model"]["init_args"] == expected


def test_files_inherit_over_generations_and_later_ones_win(save):
    save("second.yaml", {"inherits": ["base/base.yaml"], "data": {"batch_size": 5}})
    save("other.yaml", {"data": {"batch_size": 6, "seed": 1}})
    child = save("child.yaml", {"inherits": ["second.yaml", "other.yaml"], "data": {"seed": 2}})
    found = load_training(child, {"data.batch_size": 7})
    assert found["data"] == {"augmentations": [1, 2], "batch_size": 7, "seed": 2}
    assert found["model"]["init_args"] == BASE["model"]


OTHER = "dynaclr.training.ClassificationModule"
FLAT, NAMED = {"learning_rate": 1}, {"class_path": DEFAULT_MODEL, "init_args": {"learning_rate": 1}}


@pytest.mark.parametrize("child", [FLAT, NAMED, {"init_args": FLAT}])
@pytest.mark.parametrize(
    "parent", [BASE["model"], {"class_path": DEFAULT_MODEL, "init_args": BASE["model"]}]
)
def test_models_are_merged_however_parent_and_child_spell_them(save, parent, child):
    save("parent.yaml", {"model": parent})
    found = load_training(save("child.yaml", {"inherits": "parent.yaml", "model": child}))
    merged = {"class_path": DEFAULT_MODEL, "init_args": BASE["model"] | {"learning_rate": 1}}
    assert found["model"] == merged
    overridden = {"model.learning_rate": 2, "model.init_args.weight_decay": 3}
    merged["init_args"] |= {"learning_rate": 2, "weight_decay": 3}
    assert (
        load_training(tmp := save("child.yaml", {"model": merged}), overridden)["model"] == merged
    )
    assert load_training(tmp, {"model": FLAT})["model"] == NAMED


def test_arguments_of_another_class_are_not_inherited_and_those_of_the_same_are_changed(save):
    other = {"class_path": OTHER, "init_args": {"label": "condition"}}
    save("other.yaml", {"inherits": "base/base.yaml", "model": other})
    assert load_training(save("a.yaml", {"inherits": "other.yaml"}))["model"] == other
    child = save("b.yaml", {"inherits": ["other.yaml"], "model": FLAT})
    expected = {"class_path": OTHER, "init_args": {"label": "condition", "learning_rate": 1}}
    assert load_training(child)["model"] == expected
    save("flat.yaml", {"model": FLAT})
    two = save("c.yaml", {"inherits": ["other.yaml", "flat.yaml"]})
    assert load_training(two)["model"] == expected
    back = save("d.yaml", {"inherits": "other.yaml", "model": NAMED})
    assert load_training(back)["model"] == NAMED


def test_errors_name_the_file_that_inherits(save):
    save("a.yaml", {"inherits": "b.yaml"})
    with pytest.raises(UserError, match=r"a.yaml: inherits: .*b.yaml inherits from this file"):
        load_training(save("b.yaml", {"inherits": "a.yaml"}))
    with pytest.raises(UserError, match=r"missing.yaml: no such file"):
        load_training(save("c.yaml", {"inherits": "missing.yaml"}))
    with pytest.raises(UserError, match=r"d.yaml: inherits: is 3. Name a file"):
        load_training(save("d.yaml", {"inherits": 3}))


def test_merging_changes_neither_part():
    base, changes = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge_trainings(base, changes) == {"a": {"b": 1, "c": 2}}
    assert (base, changes) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_checkpoints_are_found_and_replaced_where_a_model_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    starts = {
        "encoder_checkpoint": f"{tmp_path}/results/best.ckpt",
        "teacher_checkpoint": "../best.ckpt",
    }
    relative = {
        "encoder_checkpoint": "results/best.ckpt",
        "teacher_checkpoint": f"{tmp_path.parent}/best.ckpt",
    }
    for content in (
        {"model": {"width": 8} | starts},
        {"model": {"class_path": "Multi", "init_args": {"width": 8} | starts}},
    ):
        assert starting_checkpoints(content) == relative
        assert starting_checkpoints(with_checkpoints(content, {"encoder_checkpoint": "a"})) == {
            "encoder_checkpoint": "a"
        }
        assert "width" in str(with_checkpoints(content, {}))
        assert starting_checkpoints(content) == relative, "the original stays as it is"
    for nothing in ({}, {"model": 3}, {"model": {"encoder_checkpoint": None}}):
        assert starting_checkpoints(nothing) == {}
        assert with_checkpoints(nothing, {}) == nothing


def test_files_of_weights_that_encoders_name_count_as_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit.safetensors").touch()
    inner = {"class_path": "Inner", "init_args": {"pretrained": "vit.safetensors"}}
    encoder = {"class_path": "PerChannel", "init_args": {"encoder": inner}}
    content = {"model": {"encoder": encoder, "teacher": encoder, "encoder_checkpoint": "best.ckpt"}}
    named = {
        "encoder_checkpoint": "best.ckpt",
        "encoder.init_args.encoder.init_args.pretrained": "vit.safetensors",
        "teacher.init_args.encoder.init_args.pretrained": "vit.safetensors",
    }
    assert starting_checkpoints(content) == named
    assert "pretrained" not in str(with_checkpoints(content, {}))
    assert starting_checkpoints(with_checkpoints(content, named)) == named
    for no_file in (True, False, None, "imagenet", "absent.pth"):
        inner["init_args"]["pretrained"] = no_file
        assert starting_checkpoints(content) == {"encoder_checkpoint": "best.ckpt"}
        assert with_checkpoints(content, {"encoder_checkpoint": "best.ckpt"}) == content
