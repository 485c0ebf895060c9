"""Configurations that build, and would still train nothing, never end, or learn from nothing."""

import pytest

from dynaclr.config import UserError
from dynaclr.config.training import merge_trainings, name_model_class
from dynaclr.training import check_training

ENCODER = {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"in_channels": 1}}
CONFIGURATION = name_model_class(
    {
        "model": {"encoder": ENCODER},
        "data": {"patches": {"markers": ["phase"], "size": [16, 16]}},
        "trainer": {"max_epochs": 2},
    }
)
CLASSIFIER = {
    "class_path": "dynaclr.training.ClassificationModule",
    "init_args": {"encoder": ENCODER, "label": "state", "num_classes": 2},
}
HEADS = {"class_path": "dynaclr.training.ContrastiveModule"}
HEADS["init_args"] = {"encoder": ENCODER, "auxiliary_heads": {"state": {"num_classes": 2}}}


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": {"max_epochs": -1, "max_time": "00:01:00:00"}},
        {"trainer": {"max_epochs": 4, "check_val_every_n_epoch": 4, "devices": "auto"}},
        {"model": CLASSIFIER, "data": {"carry": ["state"]}},
        {"model": HEADS, "data": {"carry": ["state"]}},
    ],
)
def test_configurations_that_train(changes):
    check_training(merge_trainings(CONFIGURATION, changes), "training.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs: is 0"),
        ({"trainer": {"max_epochs": -1}}, "trainer.max_epochs: is -1"),
        ({"trainer": {"max_epochs": -5}}, "non-negative integer or -1.*Correct this key"),
        ({"trainer": {"fast_dev_run": True}}, "trainer.fast_dev_run: is True"),
        ({"trainer": {"enable_checkpointing": False}}, "trainer.enable_checkpointing: is False"),
        ({"trainer": {"devices": 0}}, "trainer.devices: is 0"),
        ({"trainer": {"num_nodes": 0}}, "trainer.num_nodes: is 0"),
        ({"trainer": {"accelerator": "gup"}}, "no accelerator 'gup'. Did you mean 'gpu'"),
        ({"trainer": None}, "trainer is no section of keys"),
        ({"model": CLASSIFIER}, "model.label: batches carry no column 'state'"),
        ({"model": HEADS}, "model.auxiliary_heads: batches carry no column 'state'"),
        ({"data": {"query": "t.sum() > 1"}}, "data.query: 't.sum.*may only compare"),
        ({"data": {"tau_range": [0, 1e12]}}, "data.tau_range is .* within 1000 hours"),
        ({"data": {"decay_rate": float("inf")}}, "data.decay_rate is inf"),
        ({"data": {"patches": {"size": [9**9, 16]}}}, "all extents must be 1 to 4096"),
        ({"data": {"sampling": {"group_weights": {"a": -1.0}}}}, "each must be 0 or more"),
    ],
)
def test_configurations_that_would_end_later(changes, message):
    with pytest.raises(UserError, match=f"(?s)training.yaml: .*{message}"):
        check_training(merge_trainings(CONFIGURATION, changes), "training.yaml")


def test_all_that_is_wrong_with_a_trainer_is_said_at_once():
    wrong = {"limit_train_batches": 0, "limit_val_batches": 0.0, "check_val_every_n_epoch": 3}
    wrong |= {"val_check_interval": 0, "gradient_clip_val": -1}
    with pytest.raises(UserError, match="5 problems") as caught:
        check_training(merge_trainings(CONFIGURATION, {"trainer": wrong}), "training.yaml")
    for key, value in wrong.items():
        assert f"training.yaml: trainer.{key}: is {value}" in str(caught.value)
