"""An exported encoder gives the features of the one it was made of, without this package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dynaclr.config import UserError
from dynaclr.inference import check_export, export_encoder, write_bundle
from dynaclr.inference.bundle import TOLERANCE, read_patches
from dynaclr.training import train

BATCH = {"patches": {"markers": ["phase", "reporter"], "size": [32, 32]}, "batch_size": 16}
ENCODERS = {
    "SmallEncoder": {"in_channels": 2, "width": 8},
    "ContrastiveEncoder": {
        "backbone": "convnextv2_atto",
        "in_channels": 2,
        "in_stack_depth": 1,
        "stem_kernel_size": [1, 4, 4],
        "embedding_dim": 32,
        "projection_dim": 16,
    },
}
# Torch alone: the package cannot be imported there.
ELSEWHERE = """
import sys, json, numpy as np, torch
extra = {"dynaclr.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra).module()
given = np.load(sys.argv[2])
patch = torch.from_numpy(given["patch"].astype(np.float32))
with torch.inference_mode():
    features, _ = program(patch, *(torch.from_numpy(given[n]) for n in ("center", "spread")))
np.save(sys.argv[3], features.numpy())
assert json.loads(extra["dynaclr.json"])["patches"]["markers"] == ["phase", "reporter"]
assert "dynaclr" not in sys.modules
"""


def trained(name: str, collection, folder: Path) -> Path:
    """Folder of a training that did not learn much."""
    encoder = {"class_path": f"dynaclr.models.{name}", "init_args": ENCODERS[name]}
    training = {
        "model": {"encoder": encoder},
        "data": BATCH | {"tau_range": [0.5, 1.0]},
        "trainer": {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"},
    }
    train(training, collection.folder, collection.experiments, 0, folder, threads=1)
    return folder


@pytest.mark.parametrize("name", ENCODERS)
def test_an_exported_encoder_needs_torch_alone(name, collection, tmp_path):
    model, file = trained(name, collection, tmp_path / "seed0"), tmp_path / "encoder.pt2"
    assert export_encoder(model, file) <= TOLERANCE
    write_bundle(model, tmp_path / "bundle")
    assert check_export(tmp_path / "bundle", file) <= TOLERANCE
    patches, out = tmp_path / "bundle/patches.npz", tmp_path / "features.npy"
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(file), str(patches), str(out)]
    subprocess.run(command, check=True, timeout=300)
    expected = read_patches(tmp_path / "bundle")["features"].numpy()
    np.testing.assert_allclose(np.load(out), expected, atol=TOLERANCE * np.abs(expected).max())


def test_an_export_of_other_weights_is_refused(collection, tmp_path):
    model, file = trained("SmallEncoder", collection, tmp_path / "seed0"), tmp_path / "encoder.pt2"
    export_encoder(model, file)
    content = torch.load(model / "best.ckpt", weights_only=True)
    content["state_dict"] = {key: value * 1.1 for key, value in content["state_dict"].items()}
    torch.save(content, model / "best.ckpt")
    (model / "best.ckpt.digest").unlink()
    with pytest.raises(UserError, match="gives other features"):
        check_export(model, file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"encoder\.pt2: cannot be read"):
        check_export(model, file)
