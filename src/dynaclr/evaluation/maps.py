"""Maps: PCA, UMAP and PHATE coordinates of the observations of all experiments together."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynaclr.config.variants import Variant, first_of_each_kind, ordered_variants, uncorrected
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.projection import principal_components, umap_coordinates
from dynaclr.evaluation.tasks import group_codes
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embeddings import Embeddings, key_of
from dynaclr.io.subsample import whole_lineages

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

# UMAP and PHATE need some observations to find neighbours, and show little of fewer.
_MIN_ROWS = 30
_N_COMPONENTS = 30
# Half of PHATE's default: the same picture in half the time.
_N_LANDMARKS = 1000


def make_maps(
    embeddings: Embeddings, classes: Mapping[str, np.ndarray], max_cells: int, seed: int
) -> AnnData:
    """Compute maps of the observations of several experiments together.

    The first variant of each kind, except components of pixels, gets principal components and UMAP;
    the first variant of all also PHATE where the package ``phate`` is installed. Features are
    standardized, so that distances do not depend on their units. UMAP looks for neighbours in other
    lineages.

    Parameters
    ----------
    embeddings : Embeddings
    classes : mapping
        Name of a column of ``obs`` to class names of all observations, object, None where unknown,
        shape (n,).
    max_cells : int
        Most observations: whole lineages, equally many of each experiment.
    seed : int
        Seed of UMAP and PHATE.

    Returns
    -------
    anndata.AnnData
        ``X`` the features of the first variant; ``obs`` the index columns and `classes`; ``obsm``
        ``X_pca``, ``X_umap``, ``X_phate`` of the first variant, ``X_umap_<kind>``, ... of the
        others; ``uns["dynaclr"]``, JSON, names the variant and axes of each.
    """
    rows = _map_rows(embeddings, max_cells)
    lineages = group_codes(embeddings.obs, "lineage")[rows]
    first, *others = first_of_each_kind(uncorrected(ordered_variants(embeddings.features)))
    store = _store(embeddings, first, rows, classes)
    maps: list[dict[str, Any]] = []
    # Components of pixels look like raw intensity, and each further map costs seconds.
    for variant in (first, *(other for other in others if other.kind != "pixels")):
        features = standardize(embeddings.features[variant.name][rows])
        for method, coordinates, axes in _coordinates(
            features, lineages, seed, with_phate=variant == first
        ):
            key = f"X_{method}" if variant == first else f"X_{method}_{variant.kind}"
            store.obsm[key] = coordinates.astype(np.float32)
            maps.append({"key": key, "variant": variant.name, "method": method, "axes": axes})
    counts = embeddings.obs["experiment"].value_counts().sort_index().to_dict()
    facts = {"maps": maps, "n_cells": counts, "seed": seed, "dynaclr": version("dynaclr")}
    store.uns["dynaclr"] = json.dumps(facts, sort_keys=True)
    return store


def write_maps(store: AnnData, path: str | Path) -> None:
    """Write maps as one file (``.h5ad``) that scanpy and cellxgene open, and its digest."""
    with atomic_path(path) as temporary:
        store.write_h5ad(temporary, compression="gzip")
    write_digest(path)


def _map_rows(embeddings: Embeddings, max_cells: int) -> np.ndarray:
    groups = embeddings.obs.groupby("experiment", sort=True).indices
    n_each = max(1, max_cells // len(groups))
    return np.concatenate(
        [rows[whole_lineages(embeddings.obs.iloc[rows], n_each)] for rows in groups.values()]
    )


def _store(
    embeddings: Embeddings, variant: Variant, rows: np.ndarray, classes: Mapping[str, np.ndarray]
) -> AnnData:
    """Some observations with their features, under unique names, text as categories."""
    import anndata

    obs = embeddings.obs.iloc[rows].copy()
    obs.index = obs[key_of(obs)].astype(str).agg("/".join, axis=1)
    for name, values in classes.items():
        obs[name] = values[rows]
    text = obs.select_dtypes("object").columns
    obs[text] = obs[text].astype("category")
    store = anndata.AnnData(embeddings.features[variant.name][rows], obs=obs)
    store.var_names = embeddings.feature_names[variant.name]
    return store


def _coordinates(
    features: np.ndarray, lineages: np.ndarray, seed: int, with_phate: bool
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """Method, coordinates and axis labels of each map."""
    logger.info("maps of %d observations", len(features))
    # At least two: with one feature the second coordinate is 0.
    n_components = max(2, min(_N_COMPONENTS, *features.shape))
    coordinates, explained = principal_components(features, n_components)
    axes = [f"PC {n} ({part:.0%} of variance)" for n, part in enumerate(explained[:2], 1)]
    yield "pca", coordinates, axes
    if len(features) < _MIN_ROWS:
        return
    axes = ["UMAP 1 (no unit)", "UMAP 2 (no unit)"]
    yield "umap", umap_coordinates(features, lineages, seed), axes
    if with_phate and importlib.util.find_spec("phate"):
        axes = ["PHATE 1 (no unit)", "PHATE 2 (no unit)"]
        yield "phate", _phate_coordinates(features, seed), axes


def _phate_coordinates(features: np.ndarray, seed: int) -> np.ndarray:
    """Moon et al. (2019), doi 10.1038/s41587-019-0336-3, by its authors' package."""
    import phate

    with warnings.catch_warnings():
        # It warns of identical rows and of separate groups; neither is unusual here.
        warnings.simplefilter("ignore", RuntimeWarning)
        model = phate.PHATE(n_landmark=_N_LANDMARKS, random_state=seed, n_jobs=1, verbose=0)
        return model.fit_transform(features)
