"""Frozen models: weights that are there, in the form that a training would have left."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from dynaclr.config import UserError
from dynaclr.io.artifacts import digest_path, read_json
from dynaclr.training import train
from dynaclr.training.frozen import freeze

ENCODER = {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"in_channels": 2, "width": 8}}
WIDE = ENCODER | {"init_args": {"in_channels": 2, "width": 16}}
TRAINING = {
    "model": {"encoder": ENCODER},
    "data": {
        "patches": {"markers": ["phase", "reporter"], "size": [24, 24]},
        "tau_range": [0.5, 1.0],
        "batch_size": 16,
    },
    "trainer": {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"},
}


@pytest.fixture(scope="module")
def trained(collection, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frozen") / "seed2"
    train(TRAINING, collection.folder, collection.experiments, 2, folder, threads=1)
    return folder


@pytest.fixture
def moved(trained, tmp_path) -> Path:
    """A training in another folder, which had started from weights that are gone."""
    folder = shutil.copytree(trained, tmp_path / "elsewhere")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["model"]["init_args"]["encoder_checkpoint"] = "gone/start.ckpt"
    settings["trainer"]["accelerator"] = "gpu"
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_a_training_is_frozen_with_its_bytes_and_its_seed_alone(moved, tmp_path):
    freeze(moved, tmp_path / "frozen")
    frozen = {path.name for path in (tmp_path / "frozen").iterdir()}
    assert frozen == {"best.ckpt", "best.ckpt.digest", "config.yaml", "provenance.json"}
    assert digest_path(tmp_path / "frozen/best.ckpt") == digest_path(moved / "best.ckpt")
    assert read_json(tmp_path / "frozen/provenance.json") == read_json(moved / "provenance.json")
    settings = yaml.safe_load((tmp_path / "frozen/config.yaml").read_text())
    assert settings["model"]["init_args"].get("encoder_checkpoint") is None
    assert settings["trainer"] == {"accelerator": "gpu"}
    assert settings["seed_everything"] == 2
    # The same from what was frozen, and from the checkpoint in its folder.
    for number, source in enumerate((tmp_path / "frozen", moved / "best.ckpt")):
        freeze(source, tmp_path / f"again{number}")
        assert digest_path(tmp_path / f"again{number}") == digest_path(tmp_path / "frozen")


@pytest.mark.parametrize("kind", ["encoder", "module", "state"])
def test_a_checkpoint_alone_is_frozen_with_the_settings_given(kind, trained, tmp_path):
    weights = torch.load(trained / "best.ckpt", weights_only=True)["state_dict"]
    saved = {
        "encoder": {key.removeprefix("encoder."): value for key, value in weights.items()},
        "module": {"state_dict": weights},
        "state": weights,
    }[kind]
    torch.save(saved, tmp_path / "weights.pt")
    freeze(tmp_path / "weights.pt", tmp_path / "frozen", TRAINING)
    frozen = torch.load(tmp_path / "frozen/best.ckpt", weights_only=True)["state_dict"]
    for key, value in weights.items():
        assert torch.equal(frozen[key], value), key
    assert read_json(tmp_path / "frozen/provenance.json")["seed"] == 0
    # What it makes is like any training.
    freeze(tmp_path / "frozen", tmp_path / "again")
    names = [tmp_path / f"{folder}/best.ckpt" for folder in ("frozen", "again")]
    assert digest_path(names[0]) == digest_path(names[1])


def test_what_does_not_fit_is_an_error(moved, tmp_path):
    shutil.copy(moved / "best.ckpt", tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: holds another encoder"):
        freeze(
            tmp_path / "weights.pt", tmp_path / "frozen", TRAINING | {"model": {"encoder": WIDE}}
        )
    with pytest.raises(UserError, match=r"has no config\.yaml\. Name a training configuration"):
        freeze(tmp_path / "weights.pt", tmp_path / "frozen")
    with pytest.raises(UserError, match=r"absent/best\.ckpt: no such file"):
        freeze(tmp_path / "absent", tmp_path / "frozen")
    settings = yaml.safe_load((moved / "config.yaml").read_text())
    settings["model"]["init_args"]["encoder"] = WIDE
    (moved / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=r"best\.ckpt: holds weights of another model than"):
        freeze(moved, tmp_path / "frozen")
    assert not (tmp_path / "frozen").exists()
