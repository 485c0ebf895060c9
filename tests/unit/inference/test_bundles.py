"""A bundle embeds alike wherever it lies, and says so when it does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
import yaml

from dynaclr.config import UserError
from dynaclr.inference import check_bundle, embed, write_bundle
from dynaclr.inference.bundle import TOLERANCE, read_patches
from dynaclr.io.artifacts import digest_path, read_json
from dynaclr.training import train
from dynaclr.training.frozen import freeze

TRAINING = {
    "model": {
        "encoder": {
            "class_path": "dynaclr.models.SmallEncoder",
            "init_args": {"in_channels": 2, "width": 8},
        },
    },
    "data": {
        "patches": {
            "markers": ["phase", "reporter"],
            "size": [24, 24],
            "reference_pixel_size_um": 0.55,
        },
        "normalization": {"level": "frame", "center": "mean", "spread": "p1_p99"},
        "tau_range": [0.5, 1.0],
        "batch_size": 16,
    },
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}
MY_ENCODER = """from dynaclr.models import SmallEncoder


class Mine(SmallEncoder):
    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, width=8)
"""


@pytest.fixture(scope="module")
def trained(collection, tmp_path_factory) -> Path:
    """Folder of a training."""
    folder = tmp_path_factory.mktemp("trained") / "small/seed3"
    train(TRAINING, collection.folder, collection.experiments, 3, folder, threads=1)
    return folder


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory) -> Path:
    """A bundle of that training, to be read only."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(trained, folder)
    return folder


@pytest.fixture
def bundle(made, tmp_path) -> Path:
    """A copy of the bundle in another folder."""
    return shutil.copytree(made, tmp_path / "moved")


def test_a_moved_bundle_embeds_what_the_training_does(bundle, trained, collection, tmp_path):
    difference, tolerance = check_bundle(bundle)
    assert difference <= tolerance == TOLERANCE
    for model in (trained, bundle):
        embed([model], collection.experiments / "three", tmp_path / "out", device="cpu")
    stores = [tmp_path / f"out/{model.name}/three.zarr" for model in (trained, bundle)]
    first, second = map(ad.read_zarr, stores)
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.obsm["X_projections"], second.obsm["X_projections"])


def test_a_bundle_names_no_path_of_the_machine_that_made_it(made, trained, collection):
    texts = [path.read_bytes().decode("latin-1") for path in made.rglob("*") if path.is_file()]
    for folder in (trained.parents[1], collection.folder.parent, Path.home()):
        assert not [text for text in texts if str(folder) in text]
    # A checkpoint that it was started from is not needed, nor a trainer.
    settings = yaml.safe_load((made / "config.yaml").read_text())
    assert settings["trainer"] == {"accelerator": "cpu"}
    assert settings["seed_everything"] == 3


def test_reference_patches_are_pixels_of_several_frames_with_their_embeddings(made):
    patches = read_patches(made)
    assert patches["patch"].shape[1:3] == (2, 1)
    n = len(patches["patch"])
    assert 2 <= n <= 8
    assert patches["center"].shape == patches["spread"].shape == (n, 2)
    assert patches["features"].shape[0] == patches["projections"].shape[0] == n
    assert len(np.unique(patches["features"].numpy(), axis=0)) == n
    assert (made / "patches.npz").stat().st_size < 1e6


def test_the_model_card_says_what_it_is(made):
    card = (made / "README.md").read_text()
    for part in (
        *("# bundle", "dynaclr.models.SmallEncoder", "| one | phase, reporter | infected, mock |"),
        *("phase, reporter", "24 x 24 pixels", "0.55 um", "(pixel - mean) / p1_p99 of each frame"),
        *("dynaclr bundle --check", digest_path(made / "best.ckpt")),
    ):
        assert part in card


@pytest.mark.parametrize("name", ["best.ckpt", "config.yaml", "patches.npz", "README.md"])
def test_a_damaged_file_is_found(name, bundle, tmp_path):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name} was changed"):
        check_bundle(bundle)
    with pytest.raises(UserError, match=f"{name} was changed"):
        freeze(bundle, tmp_path / "frozen")


def test_a_missing_and_a_further_file_are_found_at_once(bundle):
    (bundle / "patches.npz").rename(bundle / "other.npz")
    with pytest.raises(UserError, match=r"patches.npz is missing, other.npz is new. Copy"):
        check_bundle(bundle)


def test_other_embeddings_are_an_error_even_if_all_digests_are_right(bundle):
    content = torch.load(bundle / "best.ckpt", weights_only=True)
    name = next(name for name in content["state_dict"] if name.endswith("weight"))
    content["state_dict"][name] *= 1.01
    torch.save(content, bundle / "best.ckpt")
    facts = read_json(bundle / "bundle.json")
    digest = digest_path(bundle / "best.ckpt")
    (bundle / "best.ckpt.digest").write_text(digest + "\n")
    facts["digests"]["best.ckpt"] = digest
    facts["digests"]["best.ckpt.digest"] = digest_path(bundle / "best.ckpt.digest")
    (bundle / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"embeds its reference patches otherwise .* 1e-04"):
        check_bundle(bundle)


def test_an_evaluation_brings_its_reference_and_its_scores(trained, tmp_path):
    evaluation = tmp_path / "evaluation"
    (evaluation / "reference/classifiers").mkdir(parents=True)
    (evaluation / "reference/classifiers/task.json").write_text("{}")
    (evaluation / "headline.json").write_text('{"text": "Task mitosis: AUROC 0.91."}')
    columns = "model,variant,kind,seed,task,estimate,experiment,metric,value,low,high,note\n"
    row = "m,seed3,trained,3,mitosis,held_out,four,auroc,0.912,0.9,0.95,\n"
    (evaluation / "metrics.csv").write_text(columns + row)
    write_bundle(trained, tmp_path / "bundle", evaluation_dir=evaluation)
    check_bundle(tmp_path / "bundle")
    assert (tmp_path / "bundle/reference/classifiers/task.json").is_file()
    card = (tmp_path / "bundle/README.md").read_text()
    assert "AUROC 0.91" in card
    assert "| mitosis | four | seed3 | auroc | 0.912 | 0.900 | 0.950 |" in card
    with pytest.raises(UserError, match="Evaluate it first"):
        write_bundle(trained, tmp_path / "other", evaluation_dir=tmp_path)
    assert not (tmp_path / "other").exists()
    with pytest.raises(UserError, match="is there, and no bundle"):
        write_bundle(trained, evaluation)


def test_a_frozen_copy_of_a_bundle_keeps_its_weights_and_can_be_bundled(
    bundle, collection, tmp_path
):
    freeze(bundle, tmp_path / "results/models/frozen/seed3")
    frozen = tmp_path / "results/models/frozen/seed3"
    assert digest_path(frozen / "best.ckpt") == digest_path(bundle / "best.ckpt")
    with pytest.raises(UserError, match="no experiment gives reference patches"):
        write_bundle(frozen, tmp_path / "again")
    write_bundle(frozen, tmp_path / "again", collection.experiments / "two")
    check_bundle(tmp_path / "again")
    # The names of the experiments are known by provenance alone.
    assert "| three |" in (tmp_path / "again/README.md").read_text()


def test_a_class_of_the_users_own_comes_along_and_runs_only_where_it_is_put(
    collection, tmp_path, monkeypatch
):
    project = tmp_path / "project"
    project.mkdir()
    (project / "encoder_of_mine.py").write_text(MY_ENCODER)
    monkeypatch.syspath_prepend(project)
    encoder = {"class_path": "encoder_of_mine.Mine", "init_args": {"in_channels": 2}}
    train(
        TRAINING | {"model": {"encoder": encoder}},
        *(collection.folder, collection.experiments, 0, tmp_path / "seed0"),
        threads=1,
    )
    write_bundle(tmp_path / "seed0", tmp_path / "bundle")
    code = tmp_path / "bundle/code"
    assert (code / "encoder_of_mine.py").read_text() == MY_ENCODER
    assert "encoder_of_mine" in (tmp_path / "bundle/README.md").read_text()
    command = [sys.executable, "-m", "dynaclr", "bundle", "--check", str(tmp_path / "bundle")]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def run(path: str) -> subprocess.CompletedProcess:
        given = environment | {"PYTHONPATH": path}
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    package = str(Path(sys.modules["dynaclr"].__file__).parents[1])
    refused = run(package)
    assert refused.returncode == 2
    assert f"start again with PYTHONPATH={code}" in refused.stderr
    accepted = run(f"{package}:{code}")
    assert accepted.returncode == 0, accepted.stderr
    assert "differ by" in accepted.stdout
