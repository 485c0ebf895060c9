"""Training and embedding on a small collection, from configuration to stores."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
import zarr
from lightning.pytorch import Callback

from dynaclr.config import UserError
from dynaclr.config.training import load_training
from dynaclr.data import NormalizationConfig, PatchConfig
from dynaclr.inference import embed, embed_baselines, fit_pixels
from dynaclr.inference.embedding_writer import EmbeddingOutput, write_embeddings
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import digest_path, read_digest, read_json
from dynaclr.io.embedding_rows import read_embeddings
from dynaclr.training import check_training, train
from dynaclr.training.hardware import cpu_type

CONFIGURATION = {
    "model": {
        "encoder": {
            "class_path": "dynaclr.models.SmallEncoder",
            "init_args": {"in_channels": 2, "width": 8},
        },
        "loss": {"class_path": "dynaclr.losses.NTXentHCL", "init_args": {"temperature": 0.2}},
    },
    "data": {
        "patches": {"markers": ["phase", "reporter"], "size": [24, 24]},
        "extraction_size": [34, 34],
        "augmentations": [
            {
                "class_path": "dynaclr.transforms.RandomAffine",
                "init_args": {"rotation": 180, "output_size": [24, 24]},
            }
        ],
        "tau_range": [0.5, 1.0],
        "batch_size": 16,
    },
    "trainer": {"max_epochs": 3},
}

PATCHES = CONFIGURATION["data"]["patches"]
CPU = torch.device("cpu")
LOSS = CONFIGURATION["model"]["loss"]
NO_LOSS = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 32, "out_features": 1}}
DROPOUT = [{"class_path": "dynaclr.transforms.ChannelDropout", "init_args": {"channels": [5]}}]
SCHEDULE = {"start": 0.5, "end": 0.1}
ONE_CHANNEL = {
    "class_path": "dynaclr.models.SmallEncoder",
    "init_args": {"in_channels": 1, "width": 8},
}
MODALITIES = {
    "encoder": ONE_CHANNEL,
    "teacher": ONE_CHANNEL,
    "channels": ["phase"],
    "teacher_channels": ["reporter"],
}


@pytest.fixture(scope="module")
def model(collection, tmp_path_factory) -> Path:
    """Folder of a model trained for three epochs."""
    folder = tmp_path_factory.mktemp("model") / "small" / "seed0"
    train(CONFIGURATION, collection.folder, collection.experiments, 0, folder, threads=1)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def test_products_are_complete_and_say_where_they_come_from(model, collection):
    names = {path.name for path in model.iterdir()}
    assert names >= {
        "best.ckpt",
        "best.ckpt.digest",
        "last.ckpt",
        "config.yaml",
        "metrics.csv",
        "provenance.json",
        "tensorboard",
    }
    assert ".work" not in names, "what an unfinished run needs is gone when it is finished"
    provenance = read_json(model / "provenance.json")
    assert provenance["checkpoint"] == digest_path(model / "best.ckpt")
    assert provenance["index"] == read_digest(collection.folder / "index.arrow")
    assert set(provenance["statistics"]) == {"one", "two", "three"}
    assert provenance["packages"]["torch"] == version("torch")
    assert provenance["cpu"] == cpu_type({"accelerator": "cpu"})
    config = yaml.safe_load((model / "config.yaml").read_text())
    assert config["data"]["decay_rate"] == 2.0, "defaults are filled in"
    assert str(Path.home()) not in (model / "best.ckpt").read_bytes().decode("latin-1")


def test_history_has_every_epoch(model):
    history = pd.read_csv(model / "metrics.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    for metric in ("loss", "alignment", "uniformity", "effective_rank"):
        for stage in ("train", "val"):
            assert history[f"{metric}/{stage}"].notna().all()
    assert list((model / "tensorboard").glob("events*"))


def test_same_seed_gives_the_same_bytes_and_another_does_not(model, collection, tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "small" / f"seed{seed}"
        train(CONFIGURATION, collection.folder, collection.experiments, seed, folder, threads=1)
        same = digest_path(folder / "best.ckpt") == digest_path(model / "best.ckpt")
        assert same == (seed == 0)
    again = (tmp_path / "small" / "seed0" / "metrics.csv").read_text()
    assert again == (model / "metrics.csv").read_text()


class EarlyStop(Callback):
    """Sends this process SIGTERM when Lightning listens to it and nobody else does yet."""

    def on_train_start(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGTERM)


def test_stop_before_the_first_step_has_the_exit_code_of_every_stop(collection, tmp_path, caplog):
    trainer = {"max_epochs": 1, "callbacks": [{"class_path": f"{__name__}.EarlyStop"}]}
    arguments = (CONFIGURATION | {"trainer": trainer}, collection.folder, collection.experiments)
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as stopped:
        train(*arguments, 0, tmp_path, threads=1)
    assert stopped.value.code == os.EX_TEMPFAIL
    assert "stopped by SIGTERM; started again, it goes on from its beginning" in caplog.text


def test_last_checkpoint_is_that_of_the_last_epoch_also_where_another_is_best(collection, tmp_path):
    training = copy.deepcopy(CONFIGURATION)
    # So large a rate that the embedding gets worse.
    training["model"]["learning_rate"] = 1.0
    train(training, collection.folder, collection.experiments, 0, tmp_path, threads=1)
    history = pd.read_csv(tmp_path / "metrics.csv")
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["epoch"] == history["loss/val"].idxmin() < 2, "else this shows nothing"
    assert (last["epoch"], last["global_step"]) == (2, history["step"].iloc[-1])


def interrupt(command: list[str], folder: Path, points: list[tuple[int, int, float]]) -> None:
    """Start a training again and again, each time ended by a signal.

    It comes so many seconds after so many more saves.
    """
    for number, saves, seconds in points:
        running = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline, last = time.monotonic() + 120, newest(folder)
        while saves and time.monotonic() < deadline:
            assert running.poll() is None, running.stderr.read()
            if (now := newest(folder)) != last:
                saves, last = saves - 1, now
            time.sleep(0.001)
        time.sleep(seconds)
        os.killpg(running.pid, number)
        _, reported = running.communicate(timeout=60)
        if number != signal.SIGKILL:
            assert running.returncode == os.EX_TEMPFAIL, reported
            assert f"stopped by {signal.Signals(number).name}; started again" in reported
        assert not (folder / "best.ckpt").exists()


def newest(folder: Path) -> list[int]:
    """Time of the last save, if there is one."""
    return [path.stat().st_mtime_ns for path in folder.glob(".work/*/last.ckpt")]


def train_command(training: dict, collection, folder: Path, save_minutes: float) -> list[str]:
    return [
        *(str(Path(sys.executable).with_name("dynaclr")), "train", "--seed", "0"),
        *("--training", json.dumps(training), "--threads", "1"),
        *("--collection", str(collection.folder), "--experiments", str(collection.experiments)),
        *("--out", str(folder), "--save-minutes", str(save_minutes)),
    ]


def assert_same_result(folder: Path, model: Path) -> None:
    expected, found = weights_of(model), weights_of(folder)
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    assert (folder / "metrics.csv").read_text() == (model / "metrics.csv").read_text()
    assert digest_path(folder / "best.ckpt") == digest_path(model / "best.ckpt")


def test_killed_training_goes_on_to_the_same_weights(model, collection, tmp_path):
    folder = tmp_path / "small" / "seed0"
    command = train_command(CONFIGURATION, collection, folder, save_minutes=5)
    interrupt(command, folder, [(signal.SIGKILL, 1, 0.0)])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resuming from" in done.stderr
    assert_same_result(folder, model)


@pytest.mark.parametrize("damaged", ["last.ckpt", "best.ckpt"])
def test_damaged_resume_point_is_set_aside(model, collection, tmp_path, damaged):
    folder = tmp_path / "small" / "seed0"
    command = train_command(CONFIGURATION, collection, folder, save_minutes=5)
    interrupt(command, folder, [(signal.SIGKILL, 1, 0.0)])
    (path,) = folder.glob(f".work/*/{damaged}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{damaged}: damaged" in done.stderr
    assert ("resuming from" in done.stderr) == (damaged == "last.ckpt")
    assert_same_result(folder, model)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(model, collection, tmp_path):
    """One worker is among the stopped trainings below, none in the model itself."""
    folder = tmp_path / "small" / "seed0"
    training = CONFIGURATION | {"data": CONFIGURATION["data"] | {"num_workers": 3}}
    subprocess.run(train_command(training, collection, folder, save_minutes=5), check=True)
    assert_same_result(folder, model)


@pytest.mark.slow
def test_training_stopped_anywhere_goes_on_to_the_same_weights(collection, tmp_path, monkeypatch):
    """With dropout, augmentation and accumulated gradients, and saved after each epoch alone."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    augmentations = [
        {
            "class_path": "dynaclr.transforms.RandomAffine",
            "init_args": {"rotation": 180, "output_size": [6, 6]},
        },
        {"class_path": "dynaclr.transforms.RandomGaussianNoise"},
    ]
    own = {"patches": PATCHES | {"size": [6, 6]}, "extraction_size": [10, 10]}
    training = {
        "model": CONFIGURATION["model"] | {"encoder": {"class_path": "toy.ToyEncoder"}},
        "data": CONFIGURATION["data"] | own | {"augmentations": augmentations},
        "trainer": {
            "max_epochs": 14,
            "accumulate_grad_batches": 2,
            "callbacks": [{"class_path": "toy.Pause"}],
        },
    }
    whole, folder = tmp_path / "whole" / "seed0", tmp_path / "stopped" / "seed0"
    train(training, collection.folder, collection.experiments, 0, whole, threads=1)
    # Another number of workers, which changes nothing either.
    training["data"]["num_workers"] = 1
    command = train_command(training, collection, folder, save_minutes=5)
    seed = time.time_ns()
    print(f"random points from seed {seed}")
    rng = np.random.default_rng(seed)
    signals = [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1]
    # An epoch takes half a second, so that some of it is done and discarded.
    interrupt(command, folder, [(number, 1, rng.uniform(0, 0.5)) for number in signals])
    subprocess.run(command, check=True)
    assert_same_result(folder, whole)


def embedded(model, collection, out, experiment="three", **options):
    """The store that a model makes in a folder."""
    embed([model], collection.experiments / experiment, out, threads=1, **options)
    return ad.read_zarr(out / model.name / f"{experiment}.zarr")


def test_every_observation_is_embedded_and_joins_back(model, collection, tmp_path):
    for name in ("one", "two", "three"):
        store = embedded(model, collection, tmp_path, experiment=name)
        cells = pd.read_parquet(collection.experiments / name / "cells.parquet")
        keys = ["experiment", "fov", "track_id", "t"]
        pd.testing.assert_frame_equal(
            store.obs[keys].astype(str).reset_index(drop=True), cells[keys].astype(str)
        )
        assert store.X.shape == (len(cells), 64)
        assert store.X.dtype == np.float32
        assert store.obsm["X_projections"].shape == (len(cells), 32)
        assert np.isfinite(store.X).all()
        assert store.obs_names.is_unique
        provenance = json.loads(store.uns["dynaclr"])
        assert provenance["checkpoint"] == read_digest(model / "best.ckpt")
        assert provenance["cells"] == read_digest(collection.experiments / name / "cells.parquet")


def test_embedding_is_the_same_to_the_bit_and_for_any_batch_size(model, collection, tmp_path):
    first = embedded(model, collection, tmp_path / "a")
    assert (embedded(model, collection, tmp_path / "b").X == first.X).all()
    digests = [read_digest(tmp_path / name / model.name / "three.zarr") for name in "ab"]
    assert digests[0] == digests[1]
    other = embedded(model, collection, tmp_path / "c", batch_size=7)
    np.testing.assert_allclose(other.X, first.X, atol=1e-5)


def test_seeds_that_are_embedded_together_are_as_alone(model, collection, tmp_path):
    other = tmp_path / "seed7"
    train(CONFIGURATION, collection.folder, collection.experiments, 7, other, threads=1)
    three = collection.experiments / "three"
    embed([model, other], three, tmp_path / "together", untrained=True, threads=1)
    for folder in (model, other):
        embed([folder], three, tmp_path / "alone", untrained=True, threads=1)
    stores = sorted(
        path.relative_to(tmp_path / "alone") for path in tmp_path.glob("alone/*/*.zarr")
    )
    assert len(stores) == 4
    digests = {
        store: [read_digest(tmp_path / how / store) for how in ("alone", "together")]
        for store in stores
    }
    assert all(alone == together for alone, together in digests.values())
    assert len({alone for alone, _ in digests.values()}) == 4


def test_trainings_with_other_patch_specs_are_not_embedded_together(model, collection, tmp_path):
    other = tmp_path / "mean"
    shutil.copytree(model, other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["data"]["normalization"]["center"] = "mean"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        UserError, match=r"mean: crops or normalizes patches otherwise than .*seed0"
    ):
        embed([model, other], collection.experiments / "three", tmp_path / "out")


def test_trainings_of_one_name_are_not_embedded_together(model, collection, tmp_path):
    three = collection.experiments / "three"
    for given in (
        [],
        [model, tmp_path / model.name],
        [model, tmp_path / f"{model.name}-untrained"],
    ):
        with pytest.raises(UserError, match="whose folders have different names"):
            embed(given, three, tmp_path / "out")


class Watched(torch.nn.Module):
    """Knows how many of the rows that it embedded were not yet written to a store in a folder."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.n_given, self.behind = folder, 0, []

    def forward(self, x_BCZYX):
        stores = [zarr.open_group(path, mode="r") for path in self.folder.glob(".*.zarr")]
        written = sum(int(store["X"][:].any(axis=1).sum()) for store in stores)
        self.behind.append(self.n_given - written)
        self.n_given += len(x_BCZYX)
        features = x_BCZYX.flatten(1)[:, ::500]
        return features, features[:, :2]


def test_embedding_holds_few_rows_in_memory(collection, tmp_path, monkeypatch):
    monkeypatch.setattr("dynaclr.inference.embedding_writer._BUFFERED_ROWS", 16)
    patches = PatchConfig(("phase", "reporter"), (24, 24))
    three = Observations(collection.experiments / "three", patches, NormalizationConfig())
    for batch_size in (8, 1000):
        out = tmp_path / f"{batch_size}.zarr"
        encoder = Watched(tmp_path)
        write_embeddings([EmbeddingOutput(out, encoder, {})], three, batch_size, CPU)
        assert max(encoder.behind) < 16
    in_parts, whole = ad.read_zarr(tmp_path / "8.zarr"), ad.read_zarr(tmp_path / "1000.zarr")
    assert len(whole) > 100, "else this shows nothing"
    assert in_parts.X.std(axis=0).min() > 0.1
    np.testing.assert_array_equal(in_parts.X, whole.X)
    np.testing.assert_array_equal(in_parts.obsm["X_projections"], in_parts.X[:, :2])


def test_student_of_another_modality_is_trained_and_embeds(collection, tmp_path):
    module = "dynaclr.training.MultiModalContrastiveModule"
    training = CONFIGURATION | {
        "model": {"class_path": module, "init_args": MODALITIES},
        "trainer": {"max_epochs": 1},
    }
    folder = tmp_path / "student" / "seed0"
    train(training, collection.folder, collection.experiments, 0, folder, threads=1)
    store = embedded(folder, collection, tmp_path)
    assert store.X.std(axis=0).min() > 0
    history = pd.read_csv(folder / "metrics.csv")
    assert history["retrieval/val"].notna().all()
    training = copy.deepcopy(training)
    training["model"]["init_args"] |= {"channels": ["reporter"], "teacher_channels": ["phase"]}
    training["data"]["patches"]["bag_of_channels"] = True
    with pytest.raises(UserError, match=r"sees channel 1, counted from 0, but .* gives 1"):
        check_training(training, "my.yaml")


def test_bag_of_channels_is_trained_and_embeds_every_pair(collection, tmp_path):
    training = copy.deepcopy(CONFIGURATION) | {"trainer": {"max_epochs": 1}}
    training["model"]["encoder"]["init_args"]["in_channels"] = 1
    training["data"]["patches"]["bag_of_channels"] = True
    training["data"]["sampling"] = {"stratify_by": ["condition", "marker"]}
    folder = tmp_path / "bag" / "seed0"
    train(training, collection.folder, collection.experiments, 0, folder, threads=1)
    store = embedded(folder, collection, tmp_path / "out")
    cells = pd.read_parquet(collection.experiments / "three" / "cells.parquet")
    reporter = int((cells["well"] == "A/1").sum())
    assert store.obs["marker"].value_counts().to_dict() == {
        "phase": len(cells),
        "reporter": reporter,
    }
    assert store.obs_names.is_unique
    stored = read_embeddings({"three": tmp_path / "out/seed0/three.zarr"})
    assert len(stored.obs) == len(cells) + reporter
    assert not stored.obs.duplicated(["fov", "track_id", "t", "marker"]).any()


BASELINES = ("intensity", "texture", "pixels")


def test_baselines_share_rows_but_not_features(model, collection, tmp_path):
    trained = embedded(model, collection, tmp_path, untrained=True)
    untrained = ad.read_zarr(tmp_path / f"{model.name}-untrained" / "three.zarr")
    options = (PatchConfig(("phase", "reporter"), (24, 24)), NormalizationConfig())
    components = tmp_path / "pixels.npz"
    training = [collection.experiments / name for name in ("one", "two")]
    fit_pixels(*options, training, components, n_components=5)
    embed_baselines(*options, collection.experiments / "three", tmp_path, components)
    stores = [ad.read_zarr(tmp_path / name / "three.zarr") for name in BASELINES]
    intensity, texture, pixels = stores
    for store in (untrained, *stores):
        assert list(store.obs_names) == list(trained.obs_names)
    assert not np.allclose(trained.X, untrained.X)
    assert intensity.X.shape[1] == 18, "nine statistics of each of two channels"
    assert intensity.var_names[0] == "intensity_mean:phase"
    assert {*intensity.var_names, "lbp1_03:reporter"} < {*texture.var_names}
    np.testing.assert_array_equal(texture[:, intensity.var_names].X, intensity.X)
    assert list(pixels.var_names) == [f"pixels_{number:02d}" for number in range(5)]
    assert trained.var_names[0] == "0"
    provenance = json.loads(pixels.uns["dynaclr"])
    assert provenance["checkpoint"] == read_digest(components)


def test_absent_marker_is_embedded_as_zeros(model, collection, tmp_path):
    whole = embedded(model, collection, tmp_path / "whole")
    folder = tmp_path / "three"
    shutil.copytree(collection.experiments / "three", folder)
    summary = read_json(folder / "summary.json")
    summary["entry"]["channels"] = [{"name": "Phase2D", "marker": "phase"}]
    (folder / "summary.json").write_text(json.dumps(summary))
    embed([model], folder, tmp_path / "phase", threads=1)
    phase = ad.read_zarr(tmp_path / "phase" / model.name / "three.zarr")
    assert list(phase.obs_names) == list(whole.obs_names)
    # The well without the reporter was zero-filled before, too.
    same = np.isclose(phase.X, whole.X, atol=1e-5).all(axis=1)
    np.testing.assert_array_equal(same, whole.obs["well"] == "B/1")

    summary["entry"]["channels"][0]["marker"] = "nucleus"
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"three: has none of the markers phase, reporter"):
        embed([model], folder, tmp_path / "none", threads=1)


def test_changed_checkpoint_is_refused(model, collection, tmp_path):
    folder = tmp_path / "seed0"
    shutil.copytree(model, folder)
    content = (folder / "best.ckpt").read_bytes()
    (folder / "best.ckpt").write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=r"best.ckpt: was changed after it was made"):
        embedded(folder, collection, tmp_path / "out")


@pytest.mark.parametrize("table", ["cells.parquet", "statistics.parquet"])
def test_changed_table_is_refused(model, collection, tmp_path, table):
    shutil.copytree(collection.experiments, tmp_path / "results")
    path = tmp_path / "results" / "three" / table
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=rf"{table}: was changed after it was made"):
        embed([model], tmp_path / "results" / "three", tmp_path / "out")


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "learning_rat", 1, "learning_rat"),
        ("data", "batch_size", "many", "batch_size"),
        ("trainer", "max_epoch", 1, "max_epoch"),
        ("model", "encoder", {"class_path": "dynaclr.models.NoEncoder"}, "NoEncoder"),
        ("data", "batch_size", 0, "data.batch_size is 0"),
        ("data", "num_workers", -1, "data.num_workers is -1"),
        ("data", "cache_mb", -1, "data.cache_mb is -1"),
        ("data", "decay_rate", -1, "data.decay_rate is -1"),
        ("data", "tau_range", [2.0, 0.5], r"data.tau_range is \[2.0, 0.5\]"),
        ("data", "tau_range", [0.5, float("inf")], r"data.tau_range is \[0.5, inf\]"),
        ("data", "max_border_shift", -1, "data.max_border_shift is -1"),
        ("data", "extraction_size", [34, 23], r"extraction_size is \[34, 23\], smaller"),
        ("data", "patches", PATCHES | {"size": [24, 0]}, r"patches.size is \[24, 0\]"),
        ("data", "patches", PATCHES | {"depth": 0}, "patches.depth is 0"),
        ("data", "patches", PATCHES | {"markers": []}, r"patches.markers is \[\]"),
        ("data", "patches", PATCHES | {"markers": ["phase"] * 2}, "must name distinct markers"),
        ("data", "positives", "lineag", r"positives is 'lineag'; .*Did you mean 'lineage'\?"),
        ("data", "positives", [], r"positives is \[\]; it must be .*Known: lineage, track"),
        ("data", "sampling", {"leaky": 1.1}, "sampling.leaky is 1.1"),
        ("data", "sampling", {"temporal_global_fraction": -0.1}, "global_fraction is -0.1"),
        ("data", "sampling", {"temporal_window_hours": -2}, "window_hours is -2"),
        ("model", "learning_rte", 1, "Did you mean 'learning_rate'"),
        ("data", "batchsize", 8, "Did you mean 'batch_size'"),
        ("trainer", "max_epoch", 8, "Did you mean 'max_epochs'"),
        ("data", "sampling", {"leeky": 0}, "sampling.leeky.*Did you mean 'leaky'"),
        ("data", "sampling", {"leaky": {"er": 0}}, "sampling.leaky"),
        ("model", "loss", LOSS | {"init_args": {"temprature": 1}}, "Did you mean 'temperature'"),
        ("model", "learning_rate", -1, "learning_rate is -1.0; it must be 0 or more"),
        ("model", "weight_decay", -1, "weight_decay is -1.0; it must be 0 or more"),
        ("model", "warmup_fraction", 5, "warmup_fraction is 5.0; it must be from 0 to 1"),
        ("model", "schedules", SCHEDULE | {"epochs": -3}, "schedules: epochs is -3; it must be 1"),
        ("model", "loss", NO_LOSS, "model.loss: cannot be called as ContrastiveModule does"),
        ("model", "loss", {"class_path": "torch.nn.Flatten"}, "model.loss: cannot be called"),
        ("data", "augmentations", DROPOUT, r"data.augmentations: channels \(5,\) do not all exist"),
        (
            "data",
            "augmentations",
            [],
            r"of patches of extraction_size \[34, 34\].*\[2, 1, 24, 24\]",
        ),
        ("data", "patches", PATCHES | {"markers": ["phase"]}, "in_channels is 2 .*gives 1"),
        (
            *("data", "patches", PATCHES | {"bag_of_channels": True}),
            "in_channels is 2 .*bag_of_channels gives 1",
        ),
        ("data", "patches", PATCHES | {"depth": 3}, "in_stack_depth is 1 .*gives 3"),
    ],
)
def test_broken_training_configuration_is_reported(section, key, value, message):
    value = {"temperature": value} if key == "schedules" else value
    broken = CONFIGURATION | {section: CONFIGURATION[section] | {key: value}}
    with pytest.raises(UserError, match=rf"(?s)my.yaml: .*{message}"):
        check_training(broken, "my.yaml")


@pytest.mark.parametrize("value", [{}, None, {"learning_rate": 1}])
def test_unknown_section_is_reported_even_if_it_is_empty(value):
    with pytest.raises(UserError, match=r"my.yaml: unknown section 'modl'. Did you mean 'model'"):
        check_training(CONFIGURATION | {"modl": value}, "my.yaml")


def test_schedule_of_a_training_without_an_end_is_reported():
    model = CONFIGURATION["model"] | {"schedules": {"temperature": SCHEDULE}}
    endless = CONFIGURATION | {"model": model, "trainer": {"max_epochs": -1, "max_steps": 9}}
    with pytest.raises(UserError, match=r"model.schedules.temperature: trainer.max_epochs is no"):
        check_training(endless, "my.yaml")
    model["schedules"]["temperature"] = SCHEDULE | {"epochs": 2}
    check_training(endless, "my.yaml")


def test_losses_of_a_distillation_are_tried():
    module = "dynaclr.training.MultiModalContrastiveModule"
    model = {"class_path": module, "init_args": MODALITIES | {"within_loss": NO_LOSS}}
    with pytest.raises(UserError, match="cannot be called as MultiModalContrastiveModule"):
        check_training(CONFIGURATION | {"model": model}, "my.yaml")


def test_checkpoint_yet_to_be_made_is_held_against_the_training_that_makes_it():
    best = "results/models/teacher/seed0/best.ckpt"
    model = CONFIGURATION["model"] | {"encoder_checkpoint": best}
    student = CONFIGURATION | {"model": model}
    with pytest.raises(UserError, match=rf"my.yaml: .*{best}: no such file"):
        check_training(student, "my.yaml")
    check_training(student, "my.yaml", {best: student})
    teacher = copy.deepcopy(CONFIGURATION)
    teacher["model"]["encoder"]["init_args"]["width"] = 16
    with pytest.raises(UserError, match=rf"my.yaml: {best}: holds another encoder"):
        check_training(student, "my.yaml", {best: teacher})


def test_training_is_known_by_the_content_of_what_it_starts_from(model, collection, tmp_path):
    start = tmp_path / "start.ckpt"
    shutil.copy(model / "best.ckpt", start)
    training = copy.deepcopy(CONFIGURATION)
    training["model"]["encoder_checkpoint"] = str(start)
    training["trainer"]["max_epochs"] = 1

    def run() -> Path:
        """Train, and return the folder of what a resume needs."""
        out = tmp_path / "student" / "seed0"
        train(training, collection.folder, collection.experiments, 0, out, 1, keep_work=True)
        recorded = read_json(out / "provenance.json")["checkpoints"]
        assert recorded == {"encoder_checkpoint": digest_path(start)}
        (work,) = (out / ".work").iterdir()
        return work

    first = run()
    assert run() == first
    content = torch.load(start, weights_only=True)
    torch.save({name: 2 * value for name, value in content["state_dict"].items()}, start)
    assert run() != first, "half a run from other weights would be gone on with"
    shutil.copy(model / "best.ckpt.digest", f"{start}.digest")
    with pytest.raises(UserError, match=r"start.ckpt: was changed after it was made"):
        run()


@pytest.mark.parametrize("name", ["demo.yaml", "gpu.yaml"])
def test_training_files_of_the_repository_are_sound(repository, name):
    path = repository / "config/training" / name
    check_training(load_training(path), name)


def test_missing_hardware_is_reported_by_the_training_not_by_the_check(collection, tmp_path):
    trainer = {"max_epochs": 1, "accelerator": "gpu", "devices": 99}
    wanting = CONFIGURATION | {"trainer": trainer}
    check_training(wanting, "my.yaml")
    with pytest.raises(UserError, match=r"trainer: .*Correct `accelerator`"):
        train(wanting, collection.folder, collection.experiments, 0, tmp_path / "m" / "seed0")


LIMITED = """
import json, sys
# Both ask for unions of float and int before Lightning asks for unions of int and float.
import rich.console, rich.table, sklearn.linear_model, sklearn.metrics
from dynaclr.training.builder import build
content = json.loads(sys.argv[1])
print(build(content, "my.yaml").trainer.limit_train_batches)
print(build(content, "my.yaml", arguments=["--trainer.limit_train_batches=2"]).config.trainer)
"""


def test_number_of_batches_is_no_fraction_whatever_was_imported_before(collection, tmp_path):
    trainer = {"limit_train_batches": 1, "limit_val_batches": 1.0, "accelerator": "cpu"}
    data = {"collection": str(collection.folder), "experiments": str(collection.experiments)}
    content = CONFIGURATION | {"data": CONFIGURATION["data"] | data, "trainer": trainer}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, json.dumps(content)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    limit, config = done.stdout.splitlines()
    assert limit == "1"
    assert "limit_train_batches=2, limit_val_batches=1.0" in config
