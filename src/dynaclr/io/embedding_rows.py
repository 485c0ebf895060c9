"""Some rows of embedding stores, read without the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from dynaclr.config import UserError
from dynaclr.config.variants import ordered_variants
from dynaclr.io.artifacts import digest_file_of, reading, verified_digest
from dynaclr.io.embeddings import (
    check_features,
    check_made_alike,
    check_observations,
    check_same_rows,
    encoder_of,
    key_of,
    unreadable_rows,
)

logger = logging.getLogger(__name__)


class EmbeddingRows:
    """An embedding store of one experiment, whose rows are read when they are asked for.

    Parameters
    ----------
    path : str or Path
        AnnData in Zarr.
    experiment : str
        The experiment that it must hold.

    Attributes
    ----------
    obs : pandas.DataFrame
        Observations whose pixels could be read, sorted by their key, index 0 to n - 1; plain
        strings where the store holds categories.
    feature_names : list of str
    encoder : dict
        ``variant`` and ``checkpoint`` of the encoder that made the features.

    Raises
    ------
    UserError
        When the store cannot be read or was changed, a column is missing, an observation is there
        twice, or the store is of another experiment.
    """

    def __init__(self, path: str | Path, experiment: str) -> None:
        from anndata.io import read_elem

        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{path}: no such embedding store. Run `dynaclr embed` first.")
        if digest_file_of(self.path).is_file():
            verified_digest(self.path)
        with reading(self.path):
            group = zarr.open_group(self.path, mode="r")
            obs, var, uns = (read_elem(group[name]) for name in ("obs", "var", "uns"))
            self._features = group["X"]
        facts = uns.get("dynaclr", {})
        self.encoder, unreadable = encoder_of(facts), unreadable_rows(facts)
        self.feature_names = [str(name) for name in var.index]
        obs = check_observations(obs.reset_index(drop=True), self.path)
        found = sorted(obs["experiment"].unique())
        if found != [experiment]:
            raise UserError(
                f"{path}: holds experiment {', '.join(map(str, found)) or 'none'}, "
                f"but was given as {experiment}. Correct the path."
            )
        if unreadable:
            logger.warning(
                "%s: %d of %d rows left out: their pixels cannot be read",
                *(path, len(unreadable), len(obs)),
            )
        obs = obs.drop(index=unreadable).sort_values(key_of(obs), kind="stable")
        self._positions = obs.index.to_numpy()
        self.obs = obs.reset_index(drop=True)

    def take(self, rows: np.ndarray) -> EmbeddingRows:
        """The same store with some of the observations alone; `rows` are positions in `obs`."""
        taken = copy(self)
        taken.obs = self.obs.iloc[rows].reset_index(drop=True)
        taken._positions = self._positions[rows]
        return taken

    def check_made_as(self, names: list[str], encoder: Mapping[str, Any]) -> None:
        """Refuse the store where its features or encoder are not those of other experiments."""
        check_made_alike(self.path, (self.feature_names, self.encoder), (names, encoder))

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features of some rows.

        Parameters
        ----------
        rows : numpy.ndarray
            Positions in `obs`, shape (m,).

        Returns
        -------
        numpy.ndarray
            float32, shape (m, d).

        Raises
        ------
        UserError
            When a row has no usable feature.
        """
        positions, order = np.unique(self._positions[rows], return_inverse=True)
        with reading(self.path):
            values = self._features.oindex[positions, slice(None)]  # type: ignore[union-attr]
        values = np.asarray(values, dtype=np.float32)[order]
        check_features(values, self.obs.iloc[rows], self.path)
        return values


def open_variants(stores: Mapping[str, str | Path], experiment: str) -> dict[str, EmbeddingRows]:
    """Open the stores of all variants of an experiment.

    Parameters
    ----------
    stores : mapping
        Variant to path.
    experiment : str

    Returns
    -------
    dict of str to EmbeddingRows
        In the order of tables: trained variants first.

    Raises
    ------
    UserError
        When the variants do not hold the very same observations.
    """
    names = [variant.name for variant in ordered_variants(stores)]
    opened = {name: EmbeddingRows(stores[name], experiment) for name in names}
    first, reference = next(iter(opened.items()))
    for variant, other in opened.items():
        check_same_rows(first, reference.obs, variant, other.obs)
    return opened


@dataclass(frozen=True)
class Embeddings:
    """Observations of several experiments and features of one variant.

    Attributes
    ----------
    obs : pandas.DataFrame
        One row per observation (or per observation and marker), sorted by (experiment, fov,
        track_id, t, marker), index 0 to n - 1.
    features : numpy.ndarray
        float32, shape (n, d).
    feature_names : list of str
    encoder : dict
        The encoder that made the features: ``variant``, and the digest of the ``checkpoint``.
    """

    obs: pd.DataFrame
    features: np.ndarray
    feature_names: list[str]
    encoder: dict[str, Any] = field(default_factory=dict)


def read_embeddings(stores: Mapping[str, str | Path]) -> Embeddings:
    """Read the stores of several experiments.

    Parameters
    ----------
    stores : mapping
        Experiment to the path of its embedding store.

    Returns
    -------
    Embeddings

    Raises
    ------
    UserError
        When features, or the encoders that made them, differ between experiments.
    """
    if not stores:
        raise UserError("no embedding store was given. Name at least one.")
    opened = [EmbeddingRows(path, name) for name, path in sorted(stores.items())]
    first = opened[0]
    for other in opened:
        other.check_made_as(first.feature_names, first.encoder)
    return Embeddings(
        obs=pd.concat([rows.obs for rows in opened], ignore_index=True),
        features=np.concatenate([rows.features(np.arange(len(rows.obs))) for rows in opened]),
        feature_names=first.feature_names,
        encoder=first.encoder,
    )
