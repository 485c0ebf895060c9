"""Embedding stores: AnnData in Zarr, one an experiment, and several of them side by side."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.config import UserError
from dynaclr.io.artifacts import digest_file_of, digest_path, read_digest

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

KEY = ["experiment", "fov", "track_id", "t"]
# A bag of channels has one row for each marker of an observation.
MARKER = "marker"
REQUIRED = [*KEY, "condition", "hours", "lineage_id"]


def key_of(table: pd.DataFrame) -> list[str]:
    """Columns that tell rows apart: `KEY`, and the marker where the table has one."""
    return [*KEY, MARKER] if MARKER in table else list(KEY)


@dataclass(frozen=True)
class Cohort:
    """The same observations described by several variants of features.

    Attributes
    ----------
    obs : pandas.DataFrame
        One row an observation (of a bag of channels: an observation and marker), sorted by
        (experiment, fov, track_id, t, marker), index 0 to n - 1.
    features : dict of str to numpy.ndarray
        Variant to its features, float32, shape (n, d of that variant).
    feature_names : dict of str to list of str
        Variant to the names of its columns.
    encoders : dict of str to dict
        Variant to what made its features, as its stores tell it: ``variant``, and the digest of
        the ``checkpoint``.
    """

    obs: pd.DataFrame
    features: dict[str, np.ndarray]
    feature_names: dict[str, list[str]]
    encoders: dict[str, dict[str, Any]] = field(default_factory=dict)


def open_anndata(path: str | Path) -> AnnData:
    """Read AnnData from a ``.zarr`` folder or an ``.h5ad`` file.

    Raises
    ------
    UserError
        When nothing is there, or it is no AnnData.
    """
    import anndata

    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such store. Correct the path.")
    read = anndata.read_h5ad if path.suffix == ".h5ad" else anndata.read_zarr
    try:
        return read(path)
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as AnnData ({type(error).__name__}: {error}). Make it again."
        ) from error


def read_store(path: str | Path) -> AnnData:
    """Read an embedding store and check what evaluation relies on.

    Parameters
    ----------
    path : str or Path
        AnnData in Zarr: ``X`` (n, d), ``obs`` with at least experiment, fov, track_id, t,
        condition, hours and lineage_id.

    Returns
    -------
    anndata.AnnData
        ``obs`` holds plain strings where the store holds categories. Observations whose pixels
        could not be read are left out.

    Raises
    ------
    UserError
        When nothing is there, when it is no AnnData, when a column is missing, when an
        observation (and marker) stands twice, or when a row holds no finite feature.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such embedding store. Run `dynaclr embed` first.")
    store = open_anndata(path)
    missing = [column for column in REQUIRED if column not in store.obs]
    if missing:
        raise UserError(
            f"{path}: obs lacks {', '.join(missing)}. Make the store again with `dynaclr embed`."
        )
    for column in store.obs.columns:
        if isinstance(store.obs[column].dtype, pd.CategoricalDtype):
            store.obs[column] = store.obs[column].astype(object)
    store = _without_unreadable(store, path)
    _check_rows(store, path)
    return store


def _without_unreadable(store: AnnData, path: Path) -> AnnData:
    """Leave out the rows that the store says to have no features, since pixels are lost."""
    lost = provenance_of(store).get("unreadable", [])
    if not lost:
        return store
    log.warning("%s: %d of %d rows left out; pixels cannot be read", path, len(lost), store.n_obs)
    return store[np.delete(np.arange(store.n_obs), lost)].copy()


def provenance_of(store: AnnData) -> dict[str, Any]:
    """What ``uns["dynaclr"]`` tells about how the store was made; empty when it tells nothing."""
    content = store.uns.get("dynaclr", {})
    return json.loads(content) if isinstance(content, str) else dict(content)


def summarize_store(path: str | Path) -> dict[str, str]:
    """Name and text of what should be known of an embedding store, or of maps.

    Raises
    ------
    UserError
        When it is no AnnData.
    """
    store = open_anndata(path)
    facts = provenance_of(store)
    known = [name for name in ("experiment", "condition") if name in store.obs]
    told = {"variant": "variant", "checkpoint": "checkpoint", "index": "cells"}
    return {
        "cells": f"{store.n_obs:,}",
        "features": f"{store.n_vars}, {store.X.dtype}",
        **{f"{name}s": ", ".join(map(str, sorted(store.obs[name].unique()))) for name in known},
        "obs": ", ".join(store.obs.columns),
        "obsm": ", ".join(f"{name} ({store.obsm[name].shape[1]})" for name in store.obsm),
        **{title: str(facts[name]) for title, name in told.items() if facts.get(name)},
        "made by": f"dynaclr {facts.get('dynaclr', '(unknown)')}",
    }


def digest_of_store(path: str | Path) -> str:
    """Digest of a store: the one written beside it when it was made, or its content's."""
    return read_digest(path) if digest_file_of(path).is_file() else digest_path(path)


def read_cohort(stores: Mapping[str, Mapping[str, str | Path]]) -> Cohort:
    """Read several variants of the same observations.

    Parameters
    ----------
    stores : mapping
        Variant to experiment to the path of its embedding store.

    Raises
    ------
    UserError
        When the variants do not hold the very same observations, or when the features of one
        variant, or the encoders that made them, differ between experiments.
    """
    if not stores or not all(stores.values()):
        raise UserError("evaluation: no embedding store was given. Name at least one.")
    tables = {variant: _read_variant(variant, paths) for variant, paths in stores.items()}
    first, obs = next((variant, table[0]) for variant, table in tables.items())
    for variant, (other, *_) in tables.items():
        _check_same_rows(first, obs, variant, other)
    return Cohort(
        obs=obs,
        features={variant: table[1] for variant, table in tables.items()},
        feature_names={variant: table[2] for variant, table in tables.items()},
        encoders={variant: table[3] for variant, table in tables.items()},
    )


def _check_rows(store: AnnData, path: Path) -> None:
    key = key_of(store.obs)
    twice = store.obs.duplicated(key)
    if twice.any():
        raise UserError(
            f"{path}: {_tell(store.obs.loc[twice, key].iloc[0])} stands twice "
            f"({int(twice.sum())} repeated rows in all). Make the store again."
        )
    features = np.asarray(store.X)
    bad = np.isinf(features).any(axis=1) | ~np.isfinite(features).any(axis=1)
    if bad.any():
        raise UserError(
            f"{path}: {int(bad.sum())} of {len(bad)} rows hold no usable features (infinite, or "
            f"all missing), first at {_tell(store.obs.loc[bad, key].iloc[0])}. "
            "Look at the loss curve of the model: a diverged training gives this."
        )


def _read_variant(
    variant: str, paths: Mapping[str, str | Path]
) -> tuple[pd.DataFrame, np.ndarray, list[str], dict[str, Any]]:
    parts = [_read_sorted(experiment, path) for experiment, path in sorted(paths.items())]
    names = [str(name) for name in parts[0].var_names]
    for part, path in zip(parts, sorted(paths.items()), strict=True):
        if [str(name) for name in part.var_names] != names:
            raise UserError(
                f"{path[1]}: has {part.n_vars} features that differ from the {len(names)} of "
                f"{sorted(paths.items())[0][1]} (variant {variant}). "
                "Embed all experiments with one model."
            )
    obs = pd.concat([part.obs for part in parts], ignore_index=True)
    features = np.concatenate([np.asarray(part.X, dtype=np.float32) for part in parts])
    return obs, features, names, _one_encoder(variant, dict(zip(sorted(paths), parts, strict=True)))


def _one_encoder(variant: str, stores: Mapping[str, AnnData]) -> dict[str, Any]:
    """What made the features of all these stores."""
    made_by = {}
    for experiment, store in stores.items():
        facts = provenance_of(store)
        made_by[experiment] = {key: facts.get(key) for key in ("variant", "checkpoint")}
    first, encoder = next(iter(made_by.items()))
    for experiment, other in made_by.items():
        if other != encoder:
            raise UserError(
                f"embedding store of {experiment}: made by another encoder "
                f"({_tell_encoder(other)}) than that of {first} ({_tell_encoder(encoder)}), "
                f"variant {variant}. Embed all experiments with one model."
            )
    return encoder


def check_encoder(encoder: Mapping[str, Any], other: Mapping[str, Any], what: str) -> None:
    """Refuse features of another encoder: they have the same names and nothing else in common.

    Parameters
    ----------
    encoder, other : mapping
        What features are from and what they should be from, as in `Cohort.encoders`. One that is
        not known fits all.
    what : str
        What was learned from the first, to begin the message with.

    Raises
    ------
    UserError
        When they are two.
    """
    if encoder == other or not any(encoder.values()) or not any(other.values()):
        return
    raise UserError(
        f"{what}: learned from features of another encoder ({_tell_encoder(encoder)}) than the "
        f"stores hold ({_tell_encoder(other)}). Apply it to embeddings of the model it was "
        "trained on."
    )


def _tell_encoder(encoder: Mapping[str, Any]) -> str:
    return f"{encoder['variant']}, checkpoint {str(encoder['checkpoint'])[:12]}"


def _read_sorted(experiment: str, path: str | Path) -> AnnData:
    store = read_store(path)
    found = sorted(store.obs["experiment"].unique())
    if found != [experiment]:
        raise UserError(
            f"{path}: holds experiment {', '.join(map(str, found)) or 'none'}, "
            f"but was given as {experiment}. Correct the path."
        )
    obs = store.obs.reset_index(drop=True)
    order = obs.sort_values(key_of(obs), kind="stable").index.to_numpy()
    return store[order].copy()


def _check_same_rows(first: str, obs: pd.DataFrame, variant: str, other: pd.DataFrame) -> None:
    key = key_of(obs)
    if key_of(other) != key:
        raise UserError(
            f"variants {first} and {variant}: one of them has a row for each marker, the other one "
            "for each observation. Embed both with the same `patches`."
        )
    mine, theirs = pd.MultiIndex.from_frame(obs[key]), pd.MultiIndex.from_frame(other[key])
    if mine.equals(theirs):
        return
    lacking, extra = mine.difference(theirs), theirs.difference(mine)
    example = _tell(pd.Series(lacking[0] if len(lacking) else extra[0], index=key))
    raise UserError(
        f"variants {first} and {variant} do not hold the same observations: {variant} lacks "
        f"{len(lacking)} and has {len(extra)} more, for example {example}. Baselines are compared "
        "on the same rows only: embed both from the same index."
    )


def _tell(key: pd.Series) -> str:
    return (
        f"experiment {key['experiment']}, fov {key['fov']}, track {key['track_id']}, "
        f"frame {key['t']}" + (f", marker {key[MARKER]}" if MARKER in key else "")
    )


def map_facts(store: AnnData) -> dict[str, Any]:
    """What ``uns["dynaclr"]`` tells; ``maps`` lists key in ``obsm``, variant, method and axes."""
    return json.loads(store.uns["dynaclr"])
