"""Embedding stores: AnnData in Zarr, one for each experiment and variant."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.config import UserError
from dynaclr.config.columns import MARKER
from dynaclr.io.artifacts import (
    atomic_path,
    digest_file_of,
    digest_path,
    read_digest,
    reading,
    verified_digest,
)

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

KEY = ["experiment", "fov", "track_id", "t"]
# Names of a store's features, and the encoder that made them.
Made = tuple[list[str], Mapping[str, Any]]
REQUIRED = [*KEY, "condition", "hours", "lineage_id"]


def key_of(table: pd.DataFrame) -> list[str]:
    """Columns that identify a row: `KEY`, and the marker where the table has that column."""
    return [*KEY, MARKER] if MARKER in table else list(KEY)


def open_anndata(path: str | Path) -> AnnData:
    """Read AnnData from a ``.zarr`` folder or an ``.h5ad`` file; verify it by its digest, if any.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    anndata.AnnData

    Raises
    ------
    UserError
        When the path does not exist, cannot be read as AnnData, or was changed after it was made.
    """
    import anndata

    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such store. Correct the path.")
    if digest_file_of(path).is_file():
        verified_digest(path)
    with reading(path):
        return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


def read_store(path: str | Path) -> AnnData:
    """Read an embedding store and check what evaluation relies on.

    Parameters
    ----------
    path : str or Path
        AnnData in Zarr: ``X`` (n, d), ``obs`` with at least the columns `REQUIRED`.

    Returns
    -------
    anndata.AnnData
        ``obs`` holds plain strings where the store holds categories. Observations whose pixels
        could not be read are left out.

    Raises
    ------
    UserError
        When the store cannot be read, a column is missing, an observation (and marker) is there
        twice, or a row has no finite feature.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such embedding store. Run `dynaclr embed` first.")
    store = open_anndata(path)
    store.obs = check_observations(store.obs, path)
    unreadable = unreadable_rows(store.uns.get("dynaclr", {}))
    if unreadable:
        logger.warning(
            "%s: %d of %d rows left out: their pixels cannot be read",
            *(path, len(unreadable), store.n_obs),
        )
        store = store[np.delete(np.arange(store.n_obs), unreadable)].copy()
    check_features(np.asarray(store.X), store.obs, path)
    return store


def check_observations(obs: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Check that observations have the columns `REQUIRED` and none is there twice.

    Returns
    -------
    pandas.DataFrame
        With plain strings where there were categories.

    Raises
    ------
    UserError
        When they do not.
    """
    missing = [column for column in REQUIRED if column not in obs]
    if missing:
        raise UserError(
            f"{path}: obs lacks {', '.join(missing)}. Make the store again with `dynaclr embed`."
        )
    text = obs.select_dtypes("category").columns
    obs = obs.astype(dict.fromkeys(text, object))
    key = key_of(obs)
    repeated = obs.duplicated(key)
    if repeated.any():
        raise UserError(
            f"{path}: {_describe(obs.loc[repeated, key].iloc[0])} is there twice "
            f"({int(repeated.sum())} repeated rows in all). Make the store again."
        )
    return obs


def check_features(features: np.ndarray, obs: pd.DataFrame, path: Path) -> None:
    """Raise an error where a row is infinite or has no feature at all."""
    bad = np.isinf(features).any(axis=1) | ~np.isfinite(features).any(axis=1)
    if bad.any():
        raise UserError(
            f"{path}: {int(bad.sum())} of {len(bad)} rows have no usable features (infinite, or "
            f"all missing), first at {_describe(obs.loc[bad, key_of(obs)].iloc[0])}. "
            "Check the loss curve of the model: a diverged training gives this."
        )


def _describe(key: pd.Series) -> str:
    return (
        f"experiment {key['experiment']}, fov {key['fov']}, track {key['track_id']}, "
        f"frame {key['t']}" + (f", marker {key[MARKER]}" if MARKER in key else "")
    )


def concatenate_stores(paths: Sequence[str | Path], out: str | Path) -> AnnData:
    """Write the stores of several experiments as one, with what all of them have.

    Parameters
    ----------
    paths : sequence of str or Path
    out : str or Path
        ``.zarr`` or ``.h5ad``.

    Returns
    -------
    anndata.AnnData
        Names of observations begin with their experiment; ``uns["dynaclr"]`` holds the provenance
        of each store.

    Raises
    ------
    UserError
        When a store cannot be read, or features or encoders differ.
    """
    import anndata

    stores = [read_store(path) for path in paths]
    made = [(list(s.var_names), encoder_of(s.uns.get("dynaclr", {}))) for s in stores]
    for path, own in zip(paths, made, strict=True):
        check_made_alike(Path(path), own, made[0])
    joined = anndata.concat(stores, join="outer")
    if not joined.obs_names.is_unique:
        raise UserError(f"{out}: some observations are in two of the stores. Name each store once.")
    parts = {str(path): provenance_of(store) for path, store in zip(paths, stores, strict=True)}
    joined.uns["dynaclr"] = json.dumps({"stores": parts}, sort_keys=True)
    with atomic_path(out) as temporary:
        if Path(out).suffix == ".h5ad":
            joined.write_h5ad(temporary, compression="gzip")
        else:
            joined.write_zarr(temporary)
    return joined


def provenance_of(store: AnnData) -> dict[str, Any]:
    """Provenance of a store, from ``uns["dynaclr"]``; empty where it has none."""
    return _parsed(store.uns.get("dynaclr", {}))


def _parsed(content: Any) -> dict[str, Any]:
    return json.loads(content) if isinstance(content, str) else dict(content)


def summarize_store(path: str | Path) -> dict[str, str]:
    """Facts about an embedding store, or about maps, for a person: title to text.

    Raises
    ------
    UserError
        When it cannot be read as AnnData.
    """
    store = open_anndata(path)
    provenance = provenance_of(store)
    known = [name for name in ("experiment", "condition") if name in store.obs]
    titles = ("variant", "checkpoint")
    return {
        "observations": f"{store.n_obs:,}",
        "features": f"{store.n_vars}, {store.X.dtype}",
        **{f"{name}s": ", ".join(map(str, sorted(store.obs[name].unique()))) for name in known},
        "obs": ", ".join(store.obs.columns),
        "obsm": ", ".join(f"{name} ({store.obsm[name].shape[1]})" for name in store.obsm),
        **{name: str(provenance[name]) for name in titles if provenance.get(name)},
        "made by": f"dynaclr {provenance.get('dynaclr', '(unknown)')}",
    }


def digest_of_store(path: str | Path) -> str:
    """Digest of a store: from the digest file beside it, or of its content."""
    return read_digest(path) if digest_file_of(path).is_file() else digest_path(path)


def encoder_of(content: Any) -> dict[str, Any]:
    """Encoder that made a store's features: ``variant`` and the digest of the ``checkpoint``."""
    provenance = _parsed(content)
    return {key: provenance.get(key) for key in ("variant", "checkpoint")}


def unreadable_rows(content: Any) -> list[int]:
    """Positions of a store's observations whose pixels could not be read."""
    return list(_parsed(content).get("unreadable", []))


def describe_encoder(encoder: Mapping[str, Any]) -> str:
    """Words for an encoder in a message."""
    return f"{encoder['variant']}, checkpoint {str(encoder['checkpoint'])[:12]}"


def check_made_alike(path: Path, made: Made, others: Made) -> None:
    """Refuse a store whose features or encoder are not those of stores that it is used with."""
    (names, encoder), (other_names, other_encoder) = made, others
    if names != other_names:
        raise UserError(
            f"{path}: has {len(names)} features that differ from the {len(other_names)} of other "
            "experiments. Embed all experiments with one model."
        )
    if other_encoder != encoder and any(other_encoder.values()) and any(encoder.values()):
        raise UserError(
            f"{path}: made by another encoder ({describe_encoder(encoder)}) than other experiments "
            f"({describe_encoder(other_encoder)}). Embed all experiments with one model."
        )


def check_encoder(encoder: Mapping[str, Any], other: Mapping[str, Any], what: str) -> None:
    """Refuse features of another encoder: they have the same names and another meaning.

    Parameters
    ----------
    encoder, other : mapping
        Encoder that something was trained on, and encoder of the features at hand, as in
        `Embeddings.encoders`. An unknown encoder fits all.
    what : str
        What was trained; begins the message.

    Raises
    ------
    UserError
        When the encoders differ.
    """
    if encoder == other or not any(encoder.values()) or not any(other.values()):
        return
    raise UserError(
        f"{what}: trained on features of another encoder ({describe_encoder(encoder)}) than the "
        f"stores hold ({describe_encoder(other)}). Apply it to embeddings of the model it was "
        "trained on."
    )


def check_same_rows(first: str, obs: pd.DataFrame, variant: str, other: pd.DataFrame) -> None:
    """Refuse two variants that do not hold the very same observations."""
    key = key_of(obs)
    if key_of(other) != key:
        raise UserError(
            f"variants {first} and {variant}: one has a row per marker, the other a row per "
            "observation. Embed both with the same `patches`."
        )
    rows, other_rows = pd.MultiIndex.from_frame(obs[key]), pd.MultiIndex.from_frame(other[key])
    if rows.equals(other_rows):
        return
    missing, extra = rows.difference(other_rows), other_rows.difference(rows)
    example = pd.Series(missing[0] if len(missing) else extra[0], index=key)
    raise UserError(
        f"variants {first} and {variant} do not hold the same observations: {variant} lacks "
        f"{len(missing)} and has {len(extra)} more, for example {_describe(example)}. Baselines "
        "are compared on the same rows only: embed both from the same index."
    )


def map_facts(store: AnnData) -> dict[str, Any]:
    """Provenance of maps; ``maps`` lists the key in ``obsm``, variant, method and axes of each."""
    return json.loads(store.uns["dynaclr"])
