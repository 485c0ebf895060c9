"""Columns of a table, appended to embedding stores by key."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dynaclr.config import UserError
from dynaclr.config.columns import MARKER
from dynaclr.config.errors import did_you_mean
from dynaclr.evaluation.row_keys import check_unique, match_rows, normalize_keys, read_csv
from dynaclr.io.artifacts import atomic_path, digest_file_of, digest_path, read_json, write_digest
from dynaclr.io.embeddings import KEY, REQUIRED, open_anndata, provenance_of

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
        ``.csv`` or ``.parquet``.
    key : sequence of str, optional
        Columns that the table and ``obs`` share; default: those of experiment, fov, track_id, t
        and marker that the table and all stores have. A table keyed by track gives its values to
        all frames of the track.
    columns : sequence of str, optional
        Columns to append; default: all that are not in the key.
    replace : bool
        Whether columns of the same name are replaced.

    Returns
    -------
    dict of str to int
        Store to the number of observations that have a row in the table.

    Raises
    ------
    UserError
        When a file cannot be read, a key is there twice or is no whole number where ``obs`` has
        one, a column is missing or already there, or a store has no observation with a row.
    """
    rows, record = _read_table(Path(table))
    opened = {Path(path): open_anndata(path) for path in stores}
    if not opened:
        raise UserError("no store was given. Name at least one.")
    with_markers = all(MARKER in store.obs for store in opened.values())
    known = [*KEY, MARKER] if with_markers else KEY
    key = list(key) if key else [name for name in known if name in rows]
    columns = list(columns) if columns else [name for name in rows if name not in key]
    _check_columns(rows, key, columns, table)
    n_matched = {}
    for path, store in opened.items():
        _check_store(store, path, key, columns, table, replace)
        keys = normalize_keys(rows[key], store.obs, table)
        check_unique(keys, table)
        position = match_rows(keys, store.obs, table, str(path))
        _append(store, rows[columns], position)
        n_matched[str(path)] = int((position >= 0).sum())
    _write_all(opened, {**record, "key": key, "columns": columns})
    for name, n in n_matched.items():
        logger.info("%s: %d observations got %s", name, n, ", ".join(columns))
    return n_matched


def _read_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of a table, indexed by their number in the file, and the record of their origin."""
    if not path.is_file():
        raise UserError(f"{path}: no such table. Correct the path.")
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: a table is .csv or .parquet. Change the suffix.")
    record: dict[str, Any] = {"table": path.name, "digest": digest_path(path)}
    try:
        if path.suffix == ".csv":
            text = read_csv(path)
            # Read again without blank lines, which would turn whole numbers into fractions.
            rows = pd.read_csv(io.StringIO(text.to_csv(index=False))).set_axis(text.index)
            beside = path.with_name(path.name + ".json")
            provenance = read_json(beside) if beside.is_file() else None
        else:
            read = pq.read_table(path)
            rows = read.to_pandas().reset_index(drop=True)
            rows = rows.set_axis(rows.index + 1)
            content = (read.schema.metadata or {}).get(b"dynaclr")
            provenance = json.loads(content) if content else None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Fix the file.") from None
    return rows, record if provenance is None else {**record, "provenance": provenance}


def _check_columns(
    rows: pd.DataFrame, key: list[str], columns: list[str], table: str | Path
) -> None:
    if not key:
        raise UserError(
            f"{table}: has none of {', '.join(KEY)}, only {', '.join(rows.columns)}. "
            "Name the columns that it shares with obs as the key."
        )
    for name in [*key, *columns]:
        if name not in rows:
            raise UserError(f"{table}: no column {name!r}. {did_you_mean(name, rows.columns)}.")
    if not columns:
        raise UserError(f"{table}: has no column besides its key {', '.join(key)}. Add one.")


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


def _append(store: AnnData, rows: pd.DataFrame, position: np.ndarray) -> None:
    """Append columns to a store in memory; `position` is the row of each observation, or -1."""
    found = position >= 0
    for name in rows:
        values = rows[name].take(np.where(found, position, 0)).set_axis(store.obs_names)
        values = values.where(pd.Series(found, store.obs_names))
        # AnnData, scanpy and cellxgene take numbers and categories.
        is_number = pd.api.types.is_numeric_dtype(values)
        if not is_number or pd.api.types.is_bool_dtype(values):
            values = values.astype("string").astype("category")
        store.obs[name] = values


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
