"""The examples of encoders in the reference of keys, run as they stand there."""

import re
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from dynaclr.inference import embed
from dynaclr.io.artifacts import digest_path, read_json
from dynaclr.io.code_digest import code_of
from dynaclr.training import check_training, train

REFERENCE = (Path(__file__).parents[3] / "config/README.md").read_text(encoding="utf-8")
SECTION = REFERENCE.partition("### Encoders")[2].partition("### Distilling")[0]
DATA = {
    "patches": {"markers": ["phase", "reporter"], "size": [32, 32]},
    "tau_range": [0.5, 1.0],
    "batch_size": 16,
}


def blocks(language):
    """Code blocks of the section, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", SECTION, flags=re.DOTALL)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """The user's own encoder, in a file that is found."""
    (code,) = blocks("python")
    (tmp_path / "my_encoder.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "my_encoder.py"
    sys.modules.pop("my_encoder", None)


def test_the_users_own_encoder_trains_and_embeds(own_module, collection, tmp_path):
    (text,) = [block for block in blocks("yaml") if "my_encoder" in block]
    content = yaml.safe_load(text) | {"data": DATA, "trainer": {"max_epochs": 1}}
    check_training(content, "the example")
    assert own_module.resolve() in code_of("training.fit", config=content).values()
    train(content, collection.folder, collection.experiments, 0, tmp_path / "seed0", threads=1)
    embed([tmp_path / "seed0"], collection.experiments / "one", tmp_path)
    store = ad.read_zarr(tmp_path / "seed0/one.zarr")
    assert store.X.shape[1] == 32
    assert np.isfinite(store.X).all()


def test_every_other_example_can_be_built():
    examples = [yaml.safe_load(block) for block in blocks("yaml") if "my_encoder" not in block]
    assert len(examples) == 3
    made = {"results/models/mae/seed0/best.ckpt": examples[1] | {"data": DATA}}
    for example in examples:
        content = yaml.safe_load(yaml.safe_dump(example).replace("pretrained: true", ""))
        check_training(content | {"data": DATA}, "the example", made)


def test_a_frozen_transformer_with_weights_of_a_file_is_a_row_of_a_comparison(collection, tmp_path):
    torch.manual_seed(0)
    published = timm.create_model("vit_small_patch14_dinov2", img_size=56, dynamic_img_size=True)
    save_file(published.state_dict(), tmp_path / "dino.safetensors")
    (text,) = [block for block in blocks("yaml") if "dinov2" in block]
    text = text.replace("pretrained: true", f"pretrained: {tmp_path}/dino.safetensors")
    content = yaml.safe_load(text) | {"data": DATA | {"batch_size": 4}}
    train(content, collection.folder, collection.experiments, 0, tmp_path / "seed0", threads=1)
    embed([tmp_path / "seed0"], collection.experiments / "one", tmp_path, untrained=True)
    trained, untrained = (
        ad.read_zarr(tmp_path / f"{name}/one.zarr") for name in ("seed0", "seed0-untrained")
    )
    assert trained.X.shape[1] == 2 * published.num_features
    assert np.array_equal(trained.X, untrained.X), "its weights are those of the file"
    facts = read_json(tmp_path / "seed0/provenance.json")
    assert digest_path(tmp_path / "dino.safetensors") in facts["checkpoints"].values()
