"""Labels of one experiment's observations: the columns of its `annotations`, as index columns.

They lie beside the index in a folder of their own, a file a column: what a person labels changes
neither the index nor what is made from it without that column, embeddings above all.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, Problems, UserError
from dynaclr.io.artifacts import atomic_path, verified_digest, write_digest
from dynaclr.io.label_tables import OF_TRACKS, as_classes, check_label_names, read_label_table
from dynaclr.io.parquet import read_parquet

logger = logging.getLogger(__name__)

CELLS = "cells.parquet"
LABELS = "labels"
_KEY = ["fov", "track_id", "t"]


def build_labels(
    entry: ExperimentConfig, folder: str | Path, columns: Sequence[str] | None = None
) -> None:
    """Write ``labels/<column>.parquet``, a row an observation of ``cells.parquet``, and digests.

    Parameters
    ----------
    entry : ExperimentConfig
    folder : str or Path
        Folder of the experiment's results.
    columns : sequence of str, optional
        Columns to write; default: all of the annotations, and no other files stay. Of a column that
        the annotations lack the file holds the keys of the observations alone.

    Raises
    ------
    UserError
        When the index is missing, or the table of annotations does not fit it.
    """
    folder = Path(folder)
    verified_digest(folder / CELLS)
    cells = read_parquet(folder / CELLS)
    found = label_columns(entry, cells)
    if columns is None:
        shutil.rmtree(folder / LABELS, ignore_errors=True)
    for name in found if columns is None else columns:
        path = _path(folder, name)
        table = cells.select(_KEY).replace_schema_metadata()
        if name in found:
            table = table.append_column(name, found[name])
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        write_digest(path)


def _path(folder: Path, column: str) -> Path:
    return folder / LABELS / f"{column}.parquet"


def label_columns(entry: ExperimentConfig, cells: pa.Table) -> dict[str, pa.Array]:
    """Columns of an experiment's annotations, a value an observation, null where unknown.

    Text and whole numbers, which are names of classes, are text; other numbers float64.

    Parameters
    ----------
    entry : ExperimentConfig
    cells : pyarrow.Table
        Its cell index.

    Raises
    ------
    UserError
        When the table cannot be read, does not fit the index, or a column cannot be one of it.
    """
    if entry.annotations is None:
        return {}
    where = f"experiment {entry.name}"
    obs = cells.select(["experiment", *_KEY]).to_pandas()
    table = read_label_table(entry.annotations)
    names, problems = [name for name in table.labels if name not in OF_TRACKS], Problems()
    check_label_names(names, entry.metadata, f"{where}: annotations: {table.path}", problems)
    problems.raise_if_any()
    table.check_identifies({where: obs})
    found = table.find(obs, where)
    if n_lost := int((found.unmatched & table.labels[names].notna().any(axis=1)).sum()):
        logger.warning("%s: %d of its rows match no observation of %s", table.path, n_lost, where)
    return {name: _column(found.take(as_classes(table.labels[name]))) for name in names}


def _column(values: NDArray[np.object_]) -> pa.Array:
    given = [value for value in values if not pd.isna(value)]
    if given and not any(isinstance(value, str) for value in given):
        return pa.array(values.astype(np.float64), from_pandas=True)
    codes, categories = pd.factorize(values, sort=True)
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(categories, pa.string()))


def read_labels(
    folder: str | Path,
    columns: Sequence[str] | None,
    track_id: NDArray[np.int64],
    t: NDArray[np.int32],
) -> pa.Table:
    """Read labels of an experiment's observations.

    Parameters
    ----------
    folder : str or Path
        Folder of the experiment's results.
    columns : sequence of str, optional
        Columns to read, where there are any; default: all that there are.
    track_id, t : ndarray of int, shape (n,)
        Track and frame of each observation, to compare the rows with.

    Returns
    -------
    pyarrow.Table
        n rows: ``track_id``, ``t`` and the columns.

    Raises
    ------
    UserError
        When a file was changed since it was made, or holds other observations.
    """
    folder, found = Path(folder), pa.table({"track_id": track_id, "t": t})
    if columns is None:
        paths = sorted((folder / LABELS).glob("*.parquet"))
    else:
        paths = [path for name in columns if (path := _path(folder, name)).is_file()]
    for path in paths:
        verified_digest(path)
        table = read_parquet(path)
        if not all(np.array_equal(table[name], found[name]) for name in ("track_id", "t")):
            raise UserError(
                f"{path}: holds other observations than the index. Run the labels stage again."
            )
        for name in names_of_labels(table):
            found = found.append_column(name, table[name])
    return found


def names_of_labels(table: pa.Table) -> list[str]:
    """Columns of labels in a table that `read_labels` gave."""
    return [name for name in table.column_names if name not in _KEY]
