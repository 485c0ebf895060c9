"""Samples of experiments: few enough to hold many, and what is compared over experiments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig
from dynaclr.config.variants import ordered_variants
from dynaclr.evaluation.maps import FittedMap
from dynaclr.evaluation.tasks import label_column
from dynaclr.io.artifacts import atomic_path
from dynaclr.io.embeddings import key_of, open_anndata
from dynaclr.io.subsample import whole_lineages

if TYPE_CHECKING:
    from anndata import AnnData

# Observations of an experiment in its sample.
SAMPLE_ROWS = 5000


def sample_rows(obs: pd.DataFrame, tasks: Iterable[TaskConfig], max_rows: int) -> np.ndarray:
    """Draw whole lineages of an experiment, up to half of them for what is labelled.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations of one experiment, with the labels of the tasks, n rows.
    tasks : iterable of TaskConfig
    max_rows : int
        About the most; at least one lineage is drawn.

    Returns
    -------
    numpy.ndarray
        Positions, int64, ascending: all where there are no more.
    """
    if len(obs) <= max_rows:
        return np.arange(len(obs))
    columns = [label_column(task) for task in tasks]
    known = np.flatnonzero(obs[columns].notna().any(axis=1))
    if len(known):
        known = known[whole_lineages(obs.iloc[known], max_rows // 2)]
    others = whole_lineages(obs, max(1, max_rows - len(known)))
    return np.union1d(known, others)


def write_sample(
    path: Path,
    obs: pd.DataFrame,
    features: Mapping[str, np.ndarray],
    feature_names: Mapping[str, list[str]],
    maps: Mapping[str, FittedMap],
    n_observations: int,
    seed: int,
) -> None:
    """Write a sample of an experiment as AnnData (``.h5ad``).

    Parameters
    ----------
    path : Path
    obs : pandas.DataFrame
        m rows.
    features : mapping
        Variant to features, shape (m, d). The first one becomes ``X``, others an ``obsm`` by the
        variant's name.
    feature_names : mapping
        Variant to names of features.
    maps : mapping
        Variant to its map: coordinates become ``obsm``, ``X_umap`` of the first variant,
        ``X_umap_<kind>`` of others, as ``uns["dynaclr"]`` lists.
    n_observations : int
        Observations of the experiment, of which these are a sample.
    seed : int
        That what is drawn from the sample uses.
    """
    import anndata

    first, *others = ordered_variants(features)
    named = obs.set_axis(obs[key_of(obs)].astype(str).agg("/".join, axis=1), axis=0)
    named = named.astype(dict.fromkeys(named.select_dtypes("object").columns, "category"))
    store = anndata.AnnData(features[first.name], obs=named)
    store.var_names = feature_names[first.name]
    for other in others:
        store.obsm[other.name] = features[other.name]
    listed: list[dict[str, Any]] = []
    for variant in ordered_variants(maps):
        fitted = maps[variant.name]
        for method, coordinates in fitted.place(features[variant.name]).items():
            key = f"X_{method}" if variant == first else f"X_{method}_{variant.kind}"
            store.obsm[key] = coordinates
            about = {"variant": variant.name, "method": method, "axes": fitted.axes(method)}
            listed.append({"key": key, **about})
    facts = {
        "maps": listed,
        "variants": [first.name, *(other.name for other in others)],
        "n_cells": n_observations,
        "seed": seed,
        "dynaclr": version("dynaclr"),
    }
    store.uns["dynaclr"] = json.dumps(facts, sort_keys=True)
    with atomic_path(path) as temporary:
        store.write_h5ad(temporary, compression="gzip")


def read_sample(path: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Observations and features of all variants of a sample that `write_sample` wrote."""
    store = open_anndata(path)
    first, *others = json.loads(store.uns["dynaclr"])["variants"]
    features = {first: np.asarray(store.X)}
    features |= {name: np.asarray(store.obsm[name]) for name in others}
    obs = store.obs.reset_index(drop=True)
    return obs.astype(dict.fromkeys(obs.select_dtypes("category").columns, object)), features


def join_samples(paths: Mapping[str, Path], max_rows: int) -> AnnData:
    """Observations of several experiments with their maps, equally many of each.

    Parameters
    ----------
    paths : mapping
        Experiment to its sample.
    max_rows : int
        Most observations of all.

    Returns
    -------
    anndata.AnnData
        ``X`` the features of the first variant; ``uns["dynaclr"]``, JSON, lists the maps, and
        counts the observations of each experiment.
    """
    import anndata

    parts, counts = [], {}
    for name, path in paths.items():
        store = open_anndata(path)
        facts = json.loads(store.uns["dynaclr"])
        counts[name] = facts.pop("n_cells")
        for variant in facts.pop("variants")[1:]:
            del store.obsm[variant]
        parts.append(store[whole_lineages(store.obs, max(1, max_rows // len(paths)))].copy())
    # Some columns, as predicted classes, are of some experiments alone.
    joined = anndata.concat(parts, join="outer")
    joined.uns["dynaclr"] = json.dumps({**facts, "n_cells": counts}, sort_keys=True)
    text = joined.obs.select_dtypes("object").columns
    joined.obs[text] = joined.obs[text].astype("category")
    return joined
