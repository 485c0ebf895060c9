"""Checkpoints of VisCy: what they hold is read without running any of it."""

import os
import pathlib
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from dynaclr.config import UserError
from dynaclr.io.artifacts import read_digest
from dynaclr.models import ContrastiveEncoder, ResNet3dEncoder
from dynaclr.training import ContrastiveModule
from dynaclr.training.checkpoints import read_checkpoint
from dynaclr.training.viscy import convert_viscy

ENCODERS = {
    "ContrastiveEncoder": lambda: ContrastiveEncoder(
        "convnext_atto", 2, 5, embedding_dim=64, projection_dim=16
    ),
    "ResNet3dEncoder": lambda: ResNet3dEncoder("resnet10", 1, 5, 64, 16),
}


def save(path, encoder, rename=lambda name: name, **more):
    """Save an encoder as Lightning saves VisCy's module, with such hyperparameters."""
    module = types.ModuleType("viscy_absent")
    module.Loss = type("Loss", (nn.Module,), {"__module__": "viscy_absent"})
    sys.modules["viscy_absent"] = module
    hyperparameters = {
        "lr": np.float64(1e-4),
        "shape": np.arange(5),
        "ckpt_path": pathlib.Path("/somewhere/else"),
        "loss_function": module.Loss(),
        "margin": nn.TripletMarginLoss(0.5),
        "schedule": "WarmupCosine",
    }
    state = {f"model.{rename(n)}": value for n, value in encoder.state_dict().items()}
    content = {
        "state_dict": state | {"loss_function.scale": torch.ones(1)},
        "hyper_parameters": hyperparameters | more,
        "epoch": 7,
        "global_step": 900,
    }
    torch.save(content, path)
    del sys.modules["viscy_absent"]
    return path


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("style", ["flat", "mlp", "compiled"])
def test_converted_weights_give_the_same_output(kind, style, tmp_path):
    torch.manual_seed(0)
    published = ENCODERS[kind]().eval()
    rename = {
        "flat": lambda name: name,
        "mlp": lambda name: name.replace("projection.", "projection.backbone."),
        "compiled": lambda name: f"_orig_mod.{name}",
    }[style]
    path = save(tmp_path / "viscy.ckpt", published, rename)
    with pytest.raises(UserError, match="dynaclr convert-viscy"):
        read_checkpoint(path)
    told = convert_viscy(path, tmp_path / "ours.ckpt")
    assert told["class_path"] == f"dynaclr.models.{kind}"
    known = {"in_channels": published.in_channels, "embedding_dim": 64, "projection_dim": 16}
    assert known.items() <= told["init_args"].items()
    assert read_digest(tmp_path / "ours.ckpt")
    torch.load(tmp_path / "ours.ckpt", weights_only=True)
    module = ContrastiveModule(ENCODERS[kind](), encoder_checkpoint=tmp_path / "ours.ckpt").eval()
    patches = torch.randn(2, published.in_channels, 5, 32, 32)
    with torch.no_grad():
        for given, expected in zip(module(patches), published(patches), strict=True):
            torch.testing.assert_close(given, expected)


def test_a_projection_of_another_kind_is_left_out_and_features_stay(tmp_path, caplog):
    published = ENCODERS["ContrastiveEncoder"]().eval()
    published.projection = nn.Sequential(nn.Linear(320, 8), nn.LayerNorm(8))
    convert_viscy(save(tmp_path / "viscy.ckpt", published), tmp_path / "ours.ckpt")
    assert "is left out" in caplog.text
    encoder = ENCODERS["ContrastiveEncoder"]()
    before = {name: value.clone() for name, value in encoder.projection.state_dict().items()}
    ContrastiveModule(encoder, encoder_checkpoint=tmp_path / "ours.ckpt")
    patches = torch.randn(2, 2, 5, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(patches)[0], published(patches)[0])
    for name, value in encoder.projection.state_dict().items():
        assert torch.equal(value, before[name]), name


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_viscy_does_not_save_is_refused_and_nothing_runs(tmp_path):
    mark = tmp_path / "attacked"
    path = save(tmp_path / "evil.ckpt", nn.Linear(2, 2), evil=Attack(mark))
    with pytest.raises(UserError, match=r"evil.ckpt: holds objects .*mkdir"):
        convert_viscy(path, tmp_path / "ours.ckpt")
    assert not mark.exists()
    assert not (tmp_path / "ours.ckpt").exists()


def test_files_that_are_no_such_checkpoint_are_named(tmp_path):
    (tmp_path / "text.ckpt").write_text("nothing")
    torch.save({"state_dict": {"model.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    for name, reason in {
        "text": "cannot be read",
        "absent": "no such file",
        "other": "holds no ContrastiveEncoder",
        "list": "no dictionary but list",
    }.items():
        with pytest.raises(UserError, match=f"{name}.ckpt: .*{reason}"):
            convert_viscy(tmp_path / f"{name}.ckpt", tmp_path / "ours.ckpt")
