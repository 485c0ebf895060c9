"""Small synthetic embedding stores and label tables with a known signal."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.evaluation import evaluate_model
from dynaclr.io.embeddings import key_of


@dataclass
class Synthetic:
    """Embedding stores and label tables on disk, as `evaluate_model` takes them."""

    folder: Path
    stores: dict[str, dict[str, Path]] = field(default_factory=dict)
    labels: dict[str, dict[str, Path | None]] = field(default_factory=dict)


def make_observations(experiment: str, n_tracks: int, n_frames: int, seed: int) -> pd.DataFrame:
    """Tracks in lineages of three (a parent and two daughters), in four fovs."""
    rng = np.random.default_rng(seed)
    rows = []
    for track in range(n_tracks):
        lineage = track // 3 * 3 + 1
        fov = ("A/1/0", "A/1/1", "B/1/0", "B/1/1")[(track // 3) % 4]
        condition = "mock" if fov.startswith("A") else "infected"
        responds = condition == "infected" and rng.random() < 0.6
        for t in range(n_frames):
            rows.append((fov, condition, track + 1, lineage, t, int(responds and t >= 2)))
    names = ["fov", "condition", "track_id", "lineage_id", "t", "response"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(experiment=experiment, hours=3.0 + 0.5 * table["t"])


def write_store(path: Path, observations: pd.DataFrame, features: np.ndarray) -> Path:
    """Write an embedding store in the form that `dynaclr embed` gives it."""
    obs = observations.drop(columns="response", errors="ignore")
    obs.index = obs[key_of(obs)].astype(str).agg("/".join, axis=1)
    for name in ("experiment", "fov", "condition"):
        obs[name] = obs[name].astype("category")
    store = anndata.AnnData(features.astype(np.float32), obs=obs)
    store.uns["dynaclr"] = '{"checkpoint": "0123"}'
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # anndata announces that its default Zarr format will change; either is read.
        warnings.filterwarnings("ignore", category=UserWarning, module="anndata")
        store.write_zarr(path)
    return path


def make_features(
    observations: pd.DataFrame, signal: float, batch: float, n_features: int, seed: int
) -> np.ndarray:
    """Noise shared by a track + noise of each row + the response + an offset of the experiment."""
    rng = np.random.default_rng(seed)
    tracks, codes = np.unique(observations["track_id"], return_inverse=True)
    features = rng.normal(size=(len(tracks), n_features))[codes]
    features += rng.normal(size=features.shape)
    features[:, 0] += signal * observations["response"].to_numpy()
    return features + batch * rng.normal(size=n_features)


def make_synthetic(
    folder: Path,
    n_tracks: int = 36,
    n_frames: int = 6,
    names: str = "abc",
    n_features: int = 8,
    shuffle: bool = False,
) -> Synthetic:
    """Write stores in which the trained variants hold most of the signal, the baselines less."""
    made = Synthetic(folder)
    signals = {"seed0": 4.0, "seed1": 3.5, "seed0-untrained": 1.0, "intensity": 1.5}
    for number, name in enumerate(names):
        table = make_observations(name, n_tracks, n_frames, seed=number)
        order = np.random.default_rng(number).permutation(len(table))
        order = order if shuffle else np.arange(len(table))
        for position, (variant, signal) in enumerate(signals.items()):
            features = make_features(
                table, signal, 0.3 + 0.7 * (signal < 2), n_features, seed=10 * number + position
            )
            path = folder / variant / f"{name}.zarr"
            write_store(path, table.iloc[order], features[order])
            made.stores.setdefault(variant, {})[name] = path
        made.labels[name] = write_labels(folder, name, table)
    return made


def write_labels(folder: Path, name: str, table: pd.DataFrame) -> dict[str, Path | None]:
    """Truth of every observation; annotations (three classes) of every third."""
    key = ["fov", "track_id", "t"]
    truth, annotations = folder / f"{name}.truth.csv", folder / f"{name}.annotations.csv"
    table[[*key, "response"]].to_csv(truth, index=False)
    state = np.where(table["response"] == 1, "late", table["condition"])
    table[key].assign(state=state).iloc[::3].to_csv(annotations, index=False)
    return {"truth": truth, "annotations": annotations}


TASKS = [
    TaskConfig(name="responder", label="response", source="truth", where="condition == 'infected'"),
    TaskConfig(name="state", label="state", groups="fov"),
]


def evaluate(made: Synthetic, out: Path, **options: Any) -> dict[str, Any]:
    """Evaluate with experiments a and b for training and c held out by default."""
    given = {"train_experiments": ["a", "b"], "held_out_experiments": ["c"]}
    config = EvaluationConfig(
        tasks=options.pop("tasks", TASKS),
        bootstrap=100,
        shuffles=30,
        control="mock",
        progression="response",
        write_corrected=options.pop("write_corrected", False),
    )
    return evaluate_model(
        "demo", made.stores, made.labels, config, out_dir=out, **{**given, **options}
    )


@pytest.fixture
def observations() -> pd.DataFrame:
    """One small experiment."""
    return make_observations("a", n_tracks=24, n_frames=5, seed=0)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Three experiments, two trained seeds, two baselines, truth and a few annotations."""
    return make_synthetic(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def evaluated(synthetic: Synthetic) -> Path:
    """Folder of a complete evaluation of `synthetic`."""
    evaluate(synthetic, synthetic.folder / "evaluation")
    return synthetic.folder / "evaluation"


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The makers of this file, for tests that need their own stores."""
    return SimpleNamespace(
        observations=make_observations,
        features=make_features,
        store=write_store,
        labels=write_labels,
        synthetic=make_synthetic,
        evaluate=evaluate,
        tasks=TASKS,
    )
