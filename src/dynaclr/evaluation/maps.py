"""Maps: two coordinates for each cell of all experiments together, one map a kind of features."""

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
from dynaclr.evaluation.projection import principal_components, standardize, umap_coordinates
from dynaclr.evaluation.tasks import group_codes
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embeddings import Cohort, key_of
from dynaclr.io.subsample import whole_lineages

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

_MIN_FOR_NEIGHBOURS = 30
_N_COMPONENTS = 30
# Half of what PHATE takes by default: the same picture in half the time.
_N_LANDMARKS = 1000


def lay_out(
    cohort: Cohort, classes: Mapping[str, np.ndarray], max_cells: int, seed: int
) -> AnnData:
    """Lay out the cells of several experiments together.

    The first variant of each kind but components of pixels gets principal components and UMAP; the
    first one of all also PHATE where the package ``phate`` is installed. Features are standardized,
    so that distances do not depend on their units. UMAP looks for neighbours in other lineages.

    Parameters
    ----------
    cohort : Cohort
    classes : mapping
        Name of a column of ``obs`` to class names of all observations, object, None where unknown,
        shape (n,).
    max_cells : int
        Most cells, as many of each experiment: whole lineages.
    seed : int
        Of UMAP and PHATE.

    Returns
    -------
    anndata.AnnData
        ``X`` the features of the first variant; ``obs`` the index columns and `classes`; ``obsm``
        ``X_pca``, ``X_umap``, ``X_phate`` of the first variant, ``X_umap_<kind>``, ... of the
        others; ``uns["dynaclr"]``, JSON, says which variant and axes they show.
    """
    rows = _shown_rows(cohort, max_cells)
    lineages = group_codes(cohort.obs, "lineage")[rows]
    first, *others = first_of_each_kind(uncorrected(ordered_variants(cohort.features)))
    store = _store(cohort, first, rows, classes)
    maps: list[dict[str, Any]] = []
    # Components of pixels look like raw intensity; a map more costs seconds.
    for variant in (first, *(other for other in others if other.kind != "pixels")):
        features = standardize(cohort.features[variant.name][rows])
        for method, coordinates, axes in _layouts(
            features, lineages, seed, with_phate=variant == first
        ):
            key = f"X_{method}" if variant == first else f"X_{method}_{variant.kind}"
            store.obsm[key] = coordinates.astype(np.float32)
            maps.append({"key": key, "variant": variant.name, "method": method, "axes": axes})
    counts = cohort.obs["experiment"].value_counts().sort_index().to_dict()
    facts = {"maps": maps, "n_cells": counts, "seed": seed, "dynaclr": version("dynaclr")}
    store.uns["dynaclr"] = json.dumps(facts, sort_keys=True)
    return store


def write_maps(store: AnnData, path: str | Path) -> None:
    """Write maps as one file (``.h5ad``) that scanpy and cellxgene open, and its digest."""
    with atomic_path(path) as temporary:
        store.write_h5ad(temporary, compression="gzip")
    write_digest(path)


def _shown_rows(cohort: Cohort, max_cells: int) -> np.ndarray:
    groups = cohort.obs.groupby("experiment", sort=True).indices
    share = max(1, max_cells // len(groups))
    return np.concatenate(
        [rows[whole_lineages(cohort.obs.iloc[rows], share)] for rows in groups.values()]
    )


def _store(
    cohort: Cohort, variant: Variant, rows: np.ndarray, classes: Mapping[str, np.ndarray]
) -> AnnData:
    """Some of the cells with their features, text as categories, under names that are unique."""
    import anndata

    obs = cohort.obs.iloc[rows].copy()
    obs.index = obs[key_of(obs)].astype(str).agg("/".join, axis=1)
    for name, values in classes.items():
        obs[name] = values[rows]
    text = obs.select_dtypes("object").columns
    obs[text] = obs[text].astype("category")
    store = anndata.AnnData(cohort.features[variant.name][rows], obs=obs)
    store.var_names = cohort.feature_names[variant.name]
    return store


def _layouts(
    features: np.ndarray, lineages: np.ndarray, seed: int, with_phate: bool
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """Name, coordinates and axis labels of each layout."""
    logger.info("maps of %d cells", len(features))
    # Two at least: what fewer features lack is 0.
    n_components = max(2, min(_N_COMPONENTS, *features.shape))
    coordinates, explained = principal_components(features, n_components)
    axes = [f"PC {n} ({share:.0%} of variance)" for n, share in enumerate(explained[:2], 1)]
    yield "pca", coordinates, axes
    # UMAP and PHATE say little of fewer cells, and need some to find neighbours.
    if len(features) < _MIN_FOR_NEIGHBOURS:
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
        # It warns of equal cells and of islands; neither is unusual here.
        warnings.simplefilter("ignore", RuntimeWarning)
        model = phate.PHATE(n_landmark=_N_LANDMARKS, random_state=seed, n_jobs=1, verbose=0)
        return model.fit_transform(features)
