"""Columns of a table appended to embedding stores, by key."""

from __future__ import annotations

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
from dynaclr.config.errors import did_you_mean
from dynaclr.io.artifacts import atomic_path, digest_file_of, digest_path, read_json, write_digest
from dynaclr.io.embeddings import KEY, MARKER, REQUIRED, open_anndata, provenance_of

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
    missing. ``uns["dynaclr"]`` keeps what was appended from where, with the provenance that the
    table brings along. A digest file beside a store is written anew.

    Parameters
    ----------
    stores : sequence of str or Path
        AnnData, ``.zarr`` folders or ``.h5ad`` files, changed in place.
    table : str or Path
        ``.csv`` or ``.parquet``.
    key : sequence of str, optional
        Columns that the table and ``obs`` share; default: those of experiment, fov, track_id, t
        and marker that the table and all stores have. A table keyed by track gives its values to
        all frames of it.
    columns : sequence of str, optional
        What to append; default: all columns that are no key.
    replace : bool
        Whether columns of the same name are replaced.

    Returns
    -------
    dict of str to int
        Store to the number of observations that found a row.

    Raises
    ------
    UserError
        When a file cannot be read, a key stands twice or is no whole number where ``obs`` has
        one, a column is missing or already there, or a store has no observation with a row.
    """
    rows, facts = _read_table(Path(table))
    opened = {Path(path): open_anndata(path) for path in stores}
    if not opened:
        raise UserError("no store was given. Name at least one.")
    of_markers = all(MARKER in store.obs for store in opened.values())
    known = [*KEY, MARKER] if of_markers else KEY
    key = list(key) if key else [name for name in known if name in rows]
    columns = list(columns) if columns else [name for name in rows if name not in key]
    _check_columns(rows, key, columns, table)
    facts |= {"key": key, "columns": columns}
    matched = {
        str(path): _append(store, rows, key, columns, replace, (path, table))
        for path, store in opened.items()
    }
    _write_all(opened, facts)
    for path, n_rows in matched.items():
        logger.info("%s: %d observations got %s", path, n_rows, ", ".join(columns))
    return matched


def _read_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows, and where they come from."""
    facts: dict[str, Any] = {"table": path.name}
    if not path.is_file():
        raise UserError(f"{path}: no such table. Correct the path.")
    facts["digest"] = digest_path(path)
    try:
        if path.suffix == ".parquet":
            read = pq.read_table(path)
            told = (read.schema.metadata or {}).get(b"dynaclr")
            return read.to_pandas(), facts | ({"provenance": json.loads(told)} if told else {})
        if path.suffix == ".csv":
            beside = path.with_name(path.name + ".json")
            told = {"provenance": read_json(beside)} if beside.is_file() else {}
            return pd.read_csv(path, skipinitialspace=True), facts | told
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Mend the file.") from None
    raise UserError(f"{path}: a table is .csv or .parquet. Change the suffix.")


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
        raise UserError(f"{table}: holds nothing but its key {', '.join(key)}. Add a column.")
    twice = rows.duplicated(key)
    if twice.any():
        place = ", ".join(f"{name} {rows.loc[twice, name].iloc[0]}" for name in key)
        raise UserError(
            f"{table}: {place} stands twice ({int(twice.sum())} repeated rows). Keep one of them, "
            "or name a longer key."
        )


def _append(
    store: AnnData,
    rows: pd.DataFrame,
    key: list[str],
    columns: list[str],
    replace: bool,
    where: tuple[Path, str | Path],
) -> int:
    """Append to one store in memory; the number of its observations that found a row."""
    path, table = where
    for name in key:
        if name not in store.obs:
            raise UserError(
                f"{path}: obs has no {name!r}. {did_you_mean(name, store.obs.columns)}."
            )
    there = [name for name in columns if name in store.obs]
    if [name for name in there if name in REQUIRED] or (there and not replace):
        raise UserError(
            f"{path}: obs has {', '.join(there)} already. Rename the column in {table}, choose "
            "other columns, or replace it where it is no column of the index."
        )
    wanted = pd.MultiIndex.from_frame(_comparable(store.obs[key], store.obs, path))
    known = pd.MultiIndex.from_frame(_comparable(rows[key], store.obs, table))
    position = known.get_indexer(wanted)
    found = position >= 0
    if not found.any():
        raise UserError(
            f"{table}: none of its {len(rows)} rows has the {', '.join(key)} of an observation of "
            f"{path} (first row: {_tell(known[0], key)}; first observation: "
            f"{_tell(wanted[0], key)}). Do they belong together?"
        )
    for name in columns:
        values = rows[name].take(np.where(found, position, 0)).set_axis(store.obs_names)
        store.obs[name] = _storable(values.where(pd.Series(found, store.obs_names)))
    return int(found.sum())


def _comparable(values: pd.DataFrame, obs: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Keys as whole numbers where ``obs`` has whole numbers, as text elsewhere."""
    columns = {}
    for name in values:
        if not pd.api.types.is_integer_dtype(obs[name]):
            columns[name] = values[name].astype(str).str.strip()
            continue
        numbers = pd.to_numeric(values[name], errors="coerce")
        if (numbers.isna() | (numbers % 1 != 0)).any():
            row = int(np.flatnonzero(numbers.isna() | (numbers % 1 != 0))[0])
            raise UserError(
                f"{where}, row {row + 1}: {name} is {values[name].iloc[row]!r}, not a whole "
                "number. Correct it, or remove the row."
            )
        columns[name] = numbers.astype(np.int64)
    return pd.DataFrame(columns)


def _storable(values: pd.Series) -> pd.Series:
    """A column as AnnData keeps it and scanpy and cellxgene show it: numbers, or categories."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values
    return values.astype("string").astype("category")


def _write_all(stores: dict[Path, AnnData], facts: dict[str, Any]) -> None:
    """Write all stores beside the old ones, then put them in their places."""
    with ExitStack() as finished:
        for path, store in stores.items():
            provenance = provenance_of(store)
            provenance["appended"] = [*provenance.get("appended", []), facts]
            store.uns["dynaclr"] = json.dumps(provenance, sort_keys=True)
            temporary = finished.enter_context(atomic_path(path))
            if path.suffix == ".h5ad":
                store.write_h5ad(temporary, compression="gzip")
            else:
                store.write_zarr(temporary)
    for path in stores:
        if digest_file_of(path).is_file():
            write_digest(path)


def _tell(values: tuple[Any, ...], key: list[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
