"""Columns of a table, appended to embedding stores by key."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.config import UserError
from dynaclr.config.columns import MARKER, check_storable
from dynaclr.config.errors import did_you_mean
from dynaclr.io.artifacts import atomic_path, digest_file_of, digest_path, write_digest
from dynaclr.io.embeddings import REQUIRED, open_anndata, provenance_of
from dynaclr.io.label_tables import OF_TRACKS, FoundRows, LabelTable, read_label_table

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


def append_columns(
    stores: Sequence[str | Path],
    table: str | Path,
    key: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    replace: bool = False,
) -> dict[str, int]:
    """Append columns of a table to ``obs`` of stores: to all of them, or to none.

    Text becomes categories, numbers stay numbers; observations without a row in the table are
    missing. ``uns["dynaclr"]`` records the table, with the provenance that it brings along. A
    digest file beside a store is written again.

    Parameters
    ----------
    stores : sequence of str or Path
        AnnData, ``.zarr`` folders or ``.h5ad`` files, changed in place.
    table : str or Path
        CSV or Parquet.
    key : sequence of str, optional
        Columns that the table and ``obs`` share; default: those of experiment, fov (or fov_name),
        track_id and t (and marker, where the stores have it) that the table has. A table keyed by
        track gives its values to all frames of the track.
    columns : sequence of str, optional
        Columns to append; default: all that are not in the key, nor columns of tracking tables that
        the stores have already.
    replace : bool
        Whether columns of the same name are replaced.

    Returns
    -------
    dict of str to int
        Store to the number of observations that have a value.

    Raises
    ------
    UserError
        When a file cannot be read, a key is there twice, does not tell the stores' observations
        apart or is no whole number where ``obs`` has one, a column is missing, already there or has
        a name that cannot be stored, or a store has no observation with a row.
    """
    opened = {Path(path): open_anndata(path) for path in stores}
    if not opened:
        raise UserError("no store was given. Name at least one.")
    with_markers = any(MARKER in store.obs for store in opened.values())
    read = read_label_table(table, key, with_markers)
    in_all = [name for name in OF_TRACKS if all(name in s.obs for s in opened.values())]
    columns = list(columns) if columns else [name for name in read.labels if name not in in_all]
    _check_columns(read, columns)
    for path, store in opened.items():
        _check_store(store, path, list(read.keys), columns, table, replace)
    if not key:
        read.check_identifies({str(path): store.obs for path, store in opened.items()})
    n_given = {}
    for path, store in opened.items():
        found = read.find(store.obs, str(path))
        _append(store, read.labels[columns], found)
        n_given[str(path)] = int(store.obs[columns].notna().any(axis=1).sum())
        if n_lost := int(found.unmatched.sum()):
            logger.warning("%s: %d of its rows match no observation of %s", table, n_lost, path)
    if not any(n_given.values()):
        raise UserError(f"{table}: has no value of {', '.join(columns)}. Label some rows.")
    record = {"table": read.path.name, "digest": digest_path(table)}
    if read.provenance is not None:
        record["provenance"] = read.provenance
    _write_all(opened, {**record, "key": list(read.keys), "columns": columns})
    for name, n in n_given.items():
        logger.info("%s: %d observations got %s", name, n, ", ".join(columns))
    return n_given


def _check_columns(table: LabelTable, columns: list[str]) -> None:
    if not columns:
        key = ", ".join(table.keys)
        raise UserError(f"{table.path}: has no column besides its key {key}. Add one.")
    for name in columns:
        table.column(name)
        try:
            check_storable(name)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            raise UserError(f"{table.path}: column {what}. {fix.capitalize()}.") from None


def _check_store(
    store: AnnData,
    path: Path,
    key: list[str],
    columns: list[str],
    table: str | Path,
    replace: bool,
) -> None:
    for name in key:
        if name not in store.obs:
            raise UserError(
                f"{path}: obs has no {name!r}. {did_you_mean(name, store.obs.columns)}."
            )
    present = [name for name in columns if name in store.obs]
    if set(present) & set(REQUIRED) or (present and not replace):
        raise UserError(
            f"{path}: obs has {', '.join(present)} already. Rename the column in {table}, choose "
            "other columns, or replace it where it is no column of the index."
        )


def _append(store: AnnData, labels: pd.DataFrame, found: FoundRows) -> None:
    """Append columns to a store in memory: AnnData, scanpy and cellxgene take these types."""
    for name, values in labels.items():
        taken = pd.Series(found.take(values), store.obs_names)
        if pd.api.types.is_numeric_dtype(values):
            store.obs[name] = taken.astype(values.dtype if taken.notna().all() else np.float64)
        else:
            store.obs[name] = taken.astype("string").astype("category")


def _write_all(stores: dict[Path, AnnData], record: dict[str, Any]) -> None:
    """Write all stores to temporary paths, then rename them."""
    with ExitStack() as finished:
        for path, store in stores.items():
            provenance = provenance_of(store)
            provenance["appended"] = [*provenance.get("appended", []), record]
            store.uns["dynaclr"] = json.dumps(provenance, sort_keys=True)
            temporary = finished.enter_context(atomic_path(path))
            if path.suffix == ".h5ad":
                store.write_h5ad(temporary, compression="gzip")
            else:
                store.write_zarr(temporary)
    for path in stores:
        if digest_file_of(path).is_file():
            write_digest(path)
