"""`dynaclr fit`, `validate` and `predict`, in this process and as a command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning.pytorch import Callback

from dynaclr.cli.lightning import run_trainer
from dynaclr.config import UserError

ENCODER = {
    "class_path": "dynaclr.models.SmallEncoder",
    "init_args": {"in_channels": 2, "width": 8},
}
ONE_CHANNEL = ENCODER | {"init_args": {"in_channels": 1, "width": 8}}
MODELS = {
    "contrastive": {"encoder": ENCODER, "loss": {"class_path": "dynaclr.losses.TripletMarginLoss"}},
    "multimodal": {
        "class_path": "dynaclr.training.MultiModalContrastiveModule",
        "init_args": {
            "encoder": ONE_CHANNEL,
            "teacher": ONE_CHANNEL,
            "channels": ["phase"],
            "teacher_channels": ["reporter"],
        },
    },
    "classification": {
        "class_path": "dynaclr.training.ClassificationModule",
        "init_args": {
            "encoder": ENCODER,
            "label": "condition",
            "num_classes": 2,
            "class_weights": "balanced",
        },
    },
}


@pytest.fixture
def config(collection, tmp_path) -> Path:
    """A configuration that inherits all but its model and its length."""
    base = {
        "data": {
            "collection": str(collection.folder),
            "experiments": str(collection.experiments),
            "patches": {"markers": ["phase", "reporter"], "size": [16, 16]},
            "tau_range": [0.5, 1.0],
            "batch_size": 32,
            "carry": ["condition"],
        },
        "trainer": {
            "accelerator": "cpu",
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(tmp_path), "name": "", "version": ""},
            },
            "default_root_dir": str(tmp_path),
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    mine = {"inherits": "base.yaml", "trainer": {"max_epochs": 1}, "model": MODELS["contrastive"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    return tmp_path / "mine.yaml"


def checkpoint_in(folder: Path) -> Path:
    (found,) = folder.rglob("epoch=*.ckpt")
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_every_module_is_fitted_validated_and_embeds(config, collection, tmp_path, kind, capsys):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": MODELS[kind]}))
    files = ["-c", str(config), f"--config={tmp_path / 'model.yaml'}"]
    run_trainer(["fit", *files])
    best = str(checkpoint_in(tmp_path))
    (tmp_path / "config.yaml").unlink()
    run_trainer(["validate", *files, "--ckpt_path", best])
    assert "loss/val" in capsys.readouterr().out
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert saved["ckpt_path"] == best
    run_trainer(["predict", *files, "--ckpt_path", best])
    for name in ("one", "two", "three"):
        store = ad.read_zarr(tmp_path / "embeddings" / f"{name}.zarr")
        cells = pd.read_parquet(collection.experiments / name / "cells.parquet")
        assert (store.obs["track_id"].to_numpy() == cells["track_id"].to_numpy()).all()
        assert np.isfinite(store.X).all()
        facts = json.loads(store.uns["dynaclr"])
        assert facts["variant"] == "trained"
        expected = MODELS[kind].get("class_path", "dynaclr.training.ContrastiveModule")
        assert facts["config"]["model"]["class_path"] == expected


class Stop(Callback):
    """Sends this process a signal in the middle of the second epoch."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "accumulated"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)])
def test_fit_that_is_stopped_goes_on_to_the_same_weights(
    config, tmp_path, caplog, number, accumulated
):
    arguments = [
        *("fit", "-c", str(config), "--trainer.max_epochs=2", "--data.batch_size=8"),
        f"--trainer.accumulate_grad_batches={accumulated}",
        "--data.augmentations=[{class_path: dynaclr.transforms.RandomGaussianNoise}]",
        # It has dropout.
        *("--model.encoder=tests.unit.training.toy.ToyEncoder", "--data.patches.size=[6, 6]"),
    ]
    run_trainer(arguments)
    last = tmp_path / "last.ckpt"
    first = torch.load(last, weights_only=True)
    whole = first["state_dict"]
    last.unlink()
    callback = (
        f"--trainer.callbacks={{class_path: {__name__}.Stop, init_args: {{number: {number}}}}}"
    )
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as stopped:
        run_trainer([*arguments, callback])
    assert stopped.value.code == os.EX_TEMPFAIL
    assert f"stopped by {number.name}; started again, it goes on from {last} if" in caplog.text
    saved = torch.load(last, weights_only=True)
    assert saved["epoch"] == 1
    steps = -(-3 // accumulated)
    assert saved["global_step"] == first["global_step"] // 2 + steps, "at the end of a step"
    assert not all(torch.equal(value, whole[name]) for name, value in saved["state_dict"].items())
    run_trainer([*arguments, "--ckpt_path", str(last)])
    for name, value in torch.load(last, weights_only=True)["state_dict"].items():
        assert torch.equal(value, whole[name]), name


def test_fit_goes_on_from_a_checkpoint_to_the_same_weights(config, tmp_path):
    """Dropout, augmentation and batches do not depend on where a run was interrupted."""
    more = [
        "--data.augmentations=[{class_path: dynaclr.transforms.RandomGaussianNoise}]",
        "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.save_top_k=-1",
        "--trainer.callbacks.dirpath=" + str(tmp_path / "saved"),
        "--trainer.max_epochs=2",
    ]
    run_trainer(["fit", "-c", str(config), *more])
    first, last = sorted((tmp_path / "saved").glob("*.ckpt"))
    whole = torch.load(last, weights_only=True)["state_dict"]
    last.unlink()
    run_trainer(["fit", "-c", str(config), *more, "--ckpt_path", str(first)])
    for name, value in torch.load(last, weights_only=True)["state_dict"].items():
        assert torch.equal(value, whole[name]), name


def test_files_and_options_may_spell_the_model_either_way(config, tmp_path, capsys):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": MODELS["classification"]}))
    (tmp_path / "rate.yaml").write_text("model: {learning_rate: 0.5}")
    files = [
        "-c",
        str(config),
        "-c",
        str(tmp_path / "model.yaml"),
        "-c",
        str(tmp_path / "rate.yaml"),
    ]
    with pytest.raises(SystemExit, match="0"):
        run_trainer(["fit", *files, "--model.weight_decay=0.25", "--print_config"])
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["class_path"] == MODELS["classification"]["class_path"]
    assert (model["init_args"]["label"], model["init_args"]["learning_rate"]) == ("condition", 0.5)
    assert model["init_args"]["weight_decay"] == 0.25


def test_configuration_that_is_printed_is_one_that_is_read(config, tmp_path, capsys):
    command = [str(Path(sys.executable).with_name("dynaclr")), "fit", "-c", config]
    options = ["--model.learning_rate=0.5", "--print_config"]
    printed = subprocess.run([*command, *options], capture_output=True, text=True).stdout
    content = yaml.safe_load(printed)
    assert content["model"]["init_args"]["learning_rate"] == 0.5
    assert content["model"]["init_args"]["weight_decay"] == 0.01, "defaults are filled in"
    assert content["data"]["batch_size"] == 32, "what is inherited is there"
    assert "optimizer" not in content
    (tmp_path / "printed.yaml").write_text(printed)
    with pytest.raises(SystemExit, match="0"):
        run_trainer(["fit", "-c", str(tmp_path / "printed.yaml"), "--print_config"])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.learning_rat=1"], "Option 'learning_rat' is not accepted"),
        (["--model.learning_rat=1"], "Did you mean 'learning_rate'"),
        (["--config={modl: {}}"], "dynaclr fit: unknown section 'modl'. Did you mean 'model'"),
        (["--data.batch_size=many"], "batch_size"),
        (["--data.batch_size=0"], "data.batch_size is 0"),
        (["--model.encoder.init_args.in_channels=3"], "in_channels is 3 but .* gives 2"),
        (["--model.loss=dynaclr.losses.NoLoss"], "no attribute 'NoLoss'"),
        (["--model=torch.nn.Linear"], "does not correspond to a subclass"),
        (["--trainer.devices=0"], r"trainer: .*Correct `accelerator`"),
        (["--ckpt_path=none.ckpt"], "ckpt_path: none.ckpt: no such file"),
        (["--optimizer=Adam"], "optimizer"),
        (["-c"], "-c names no file"),
        (["-c", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_errors_are_reported_plainly(config, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        run_trainer(["fit", "-c", str(config), *arguments])
    assert "NoneType" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_prediction_by_several_processes_is_refused(config, tmp_path):
    with pytest.raises(UserError, match=r"predict: 2 device\(s\) on 1 node\(s\) are asked for"):
        run_trainer(["predict", "-c", str(config), "--trainer.devices=2"])
    assert not (tmp_path / "embeddings").exists()


def test_checkpoint_of_another_encoder_embeds_nothing(config, tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other.ckpt: holds no encoder with weights like"):
        run_trainer(["predict", "-c", str(config), "--ckpt_path", str(tmp_path / "other.ckpt")])
