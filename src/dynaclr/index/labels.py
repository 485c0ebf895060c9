"""Labels of one experiment's observations: the columns of its `annotations`, as index columns.

They lie beside the index in a table of their own, so that what a person labels changes neither the
index nor what is made from it without labels, embeddings above all.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, Problems, UserError
from dynaclr.io.artifacts import atomic_path, verified_digest, write_digest
from dynaclr.io.label_tables import OF_TRACKS, as_classes, check_label_names, read_label_table

logger = logging.getLogger(__name__)

CELLS = "cells.parquet"
LABELS = "labels.parquet"
_KEY = ["fov", "track_id", "t"]


def build_labels(entry: ExperimentConfig, folder: str | Path) -> None:
    """Write ``labels.parquet``, with a row an observation of ``cells.parquet``, and its digest.

    Parameters
    ----------
    entry : ExperimentConfig
        Without `annotations` the table holds the keys of the observations alone.
    folder : str or Path
        Folder of the experiment's results.

    Raises
    ------
    UserError
        When the index is missing, or the table of annotations does not fit it.
    """
    folder = Path(folder)
    verified_digest(folder / CELLS)
    cells = pq.read_table(folder / CELLS)
    table = cells.select(_KEY)
    for name, values in label_columns(entry, cells).items():
        table = table.append_column(name, values)
    with atomic_path(folder / LABELS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    write_digest(folder / LABELS)


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


def read_labels(folder: str | Path, track_id: NDArray[np.int64], t: NDArray[np.int32]) -> pa.Table:
    """Read the labels of an experiment's observations.

    Parameters
    ----------
    folder : str or Path
        Folder of the experiment's results.
    track_id, t : ndarray of int, shape (n,)
        Track and frame of each observation, to compare the rows with.

    Returns
    -------
    pyarrow.Table
        n rows, the keys and the columns of labels; the keys alone where the folder has no labels.

    Raises
    ------
    UserError
        When the table was changed since it was made, or holds other observations.
    """
    path = Path(folder) / LABELS
    if not path.is_file():
        return pa.table({"track_id": track_id, "t": t})
    verified_digest(path)
    table = pq.read_table(path)
    own = (table["track_id"].to_numpy(), table["t"].to_numpy())
    if not (np.array_equal(own[0], track_id) and np.array_equal(own[1], t)):
        raise UserError(
            f"{path}: holds other observations than the index. Run the labels stage again."
        )
    return table


def names_of_labels(table: pa.Table) -> list[str]:
    """Columns of labels in a table that `read_labels` gave."""
    return [name for name in table.column_names if name not in _KEY]
