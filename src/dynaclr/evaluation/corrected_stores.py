"""Corrected embeddings as stores of their own, for those who work on with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.batch_correction import Moments, corrected_variants
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.embeddings import provenance_of, read_store


def write_corrected(
    folder: Path,
    experiment: str,
    stores: Mapping[str, str | Path],
    control: str | None,
    targets: Mapping[str, Moments | None],
) -> None:
    """Write the trained embeddings of an experiment once more after each correction.

    Parameters
    ----------
    folder : Path
        Gets ``<variant>+<correction>/<experiment>.zarr``.
    experiment : str
    stores : mapping
        Variant to embedding store.
    control : str or None
        Condition of control cells; without it nothing is transported.
    targets : mapping
        Variant to what `transport_controls` moves to.
    """
    for variant, source in stores.items():
        if parse_variant(variant).kind != "trained":
            continue
        store = read_store(source)
        is_control = None if control is None else (store.obs["condition"] == control).to_numpy()
        given = (variant, np.asarray(store.X), store.obs["experiment"].to_numpy(object))
        provenance = provenance_of(store)
        for name, features in corrected_variants(*given, is_control, targets[variant]).items():
            if name == variant:
                continue
            store.X = features
            facts = provenance | {"correction": parse_variant(name).correction, "unreadable": []}
            store.uns["dynaclr"] = json.dumps(facts, sort_keys=True)
            path = folder / name / f"{experiment}.zarr"
            with atomic_path(path) as temporary:
                store.write_zarr(temporary)
            write_digest(path)
