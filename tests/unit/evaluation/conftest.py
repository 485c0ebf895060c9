"""Small synthetic embedding stores and label tables with a known signal."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest


@dataclass
class Synthetic:
    """Embedding stores and label tables on disk, as `evaluate_model` takes them."""

    folder: Path
    stores: dict[str, dict[str, Path]] = field(default_factory=dict)
    labels: dict[str, dict[str, Path | None]] = field(default_factory=dict)


def make_observations(experiment: str, n_tracks: int, n_frames: int, seed: int) -> pd.DataFrame:
    """Tracks in lineages of three (a parent and two daughters), over two wells and four fovs."""
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
    return table.assign(
        experiment=experiment,
        well=table["fov"].str[:3],
        hours=3.0 + 0.5 * table["t"],
        generation=np.where(table["track_id"] == table["lineage_id"], 0, 1),
        parent_track_id=np.where(
            table["track_id"] == table["lineage_id"], -1, table["lineage_id"]
        ),
    )


def write_store(path: Path, observations: pd.DataFrame, features: np.ndarray) -> Path:
    """Write an embedding store in the form that `dynaclr embed` gives it."""
    obs = observations.drop(columns="response", errors="ignore")
    obs.index = [f"{r.experiment}/{r.fov}/{r.track_id}/{r.t}" for r in obs.itertuples()]
    for name in ("experiment", "fov", "condition", "well"):
        obs[name] = obs[name].astype("category")
    store = anndata.AnnData(features.astype(np.float32), obs=obs)
    store.uns["dynaclr"] = '{"checkpoint": "0123"}'
    path.parent.mkdir(parents=True, exist_ok=True)
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


@pytest.fixture
def observations() -> pd.DataFrame:
    """One small experiment."""
    return make_observations("a", n_tracks=24, n_frames=5, seed=0)


@pytest.fixture
def synthetic(tmp_path: Path) -> Synthetic:
    """Three experiments, two trained seeds, two baselines, truth and a few annotations."""
    return make_synthetic(tmp_path, n_tracks=48, n_frames=6)


def make_synthetic(
    folder: Path, n_tracks: int, n_frames: int, names: str = "abc", n_features: int = 8
) -> Synthetic:
    """Write stores in which the trained variants hold most of the signal, the baselines less."""
    made = Synthetic(folder)
    signals = {"seed0": 4.0, "seed1": 3.5, "seed0-untrained": 1.0, "intensity": 1.5}
    for number, name in enumerate(names):
        table = make_observations(name, n_tracks, n_frames, seed=number)
        for order, (variant, signal) in enumerate(signals.items()):
            features = make_features(
                table, signal, 0.3 + 0.7 * (signal < 2), n_features, seed=10 * number + order
            )
            path = write_store(folder / variant / f"{name}.zarr", table, features)
            made.stores.setdefault(variant, {})[name] = path
        key = ["fov", "track_id", "t"]
        truth, annotations = folder / f"{name}.truth.csv", folder / f"{name}.annotations.csv"
        table[[*key, "response"]].to_csv(truth, index=False)
        state = np.where(table["response"] == 1, "late", table["condition"])
        table[key].assign(state=state).iloc[::3].to_csv(annotations, index=False)
        made.labels[name] = {"truth": truth, "annotations": annotations}
    return made
