"""Label tables: CSV or Parquet with a row an observation, a track or a field of view.

What a row is of, its key columns say: those of experiment, fov (or fov_name), track_id and t that
there are. Every other column holds labels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config.columns import MARKER, check_column_name
from dynaclr.config.errors import Problems, UserError, did_you_mean
from dynaclr.io.artifacts import read_json
from dynaclr.io.embeddings import KEY
from dynaclr.io.file_cache import read_cached
from dynaclr.io.row_keys import check_unique, match_rows, normalize_keys
from dynaclr.io.track_columns import TRACK_COLUMNS

logger = logging.getLogger(__name__)

# What tracks say of an observation, which is in the index already: no labels.
OF_TRACKS = {*TRACK_COLUMNS, "z"} - {"track_id", "t"}
OF_TRACKS |= {"lineage_id", "generation", "frames_to_division", "track_length"}
# Names of columns that are taken for a key which the table lacks: to ignore one would give its
# labels to other observations.
_LIKE_A_KEY = {
    "fov": r"fovs?|fov_?(name|id)|field(_of_view)?|position|pos|site|series",
    "track_id": r"tracks?|track_?(id|name|number)|cell_?id",
    "t": r"t|time|frames?|time_?(points?|id)",
}
_NUMBER = r"[+-]?(?!0\d)(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan"


class FoundRows(NamedTuple):
    """Rows of a table by observation.

    Attributes
    ----------
    position : ndarray of int64, shape (n,)
        Position in the table of the row of each observation; -1 for none.
    unmatched : ndarray of bool, shape (m,)
        Rows of the table, of the experiments at hand, that are of no observation.
    """

    position: NDArray[np.int64]
    unmatched: NDArray[np.bool_]

    def take(self, values: pd.Series, missing: object = None) -> NDArray[Any]:
        """Take the value of each observation from a column of the table, shape (n,)."""
        taken = np.full(len(self.position), missing, dtype=object)
        found = self.position >= 0
        taken[found] = values.astype(object).to_numpy()[self.position[found]]
        return taken


@dataclass(frozen=True)
class LabelTable:
    """A table of labels.

    Attributes
    ----------
    path : Path
    keys : pandas.DataFrame
        Key columns as they are in the file; indexed by row number in the file.
    labels : pandas.DataFrame
        The other columns, indexed alike: numbers (NaN where missing) or text as it is in the file
        (None where it is empty).
    provenance : object
        What the table says of its origin, in its metadata or in ``<path>.json``; None for nothing.
    """

    path: Path
    keys: pd.DataFrame
    labels: pd.DataFrame
    provenance: Any = field(default=None)

    def column(self, name: str) -> pd.Series:
        """Labels of one column.

        Raises
        ------
        UserError
            When there is no such column.
        """
        if name not in self.labels:
            raise UserError(
                f"{self.path}: no column {name!r}. {did_you_mean(name, self.labels.columns)}."
            )
        return self.labels[name]

    def find(self, obs: pd.DataFrame, what: str) -> FoundRows:
        """Find the row of each observation; a row of a track is of all its frames.

        Parameters
        ----------
        obs : pandas.DataFrame
            n observations, with the key's columns.
        what : str
            What the observations are, for messages.

        Raises
        ------
        UserError
            When a key is there twice, is no whole number where `obs` has whole numbers, or no row
            is of an observation.
        """
        if self.keys.empty:
            return FoundRows(np.full(len(obs), -1), np.zeros(0, dtype=bool))
        keys = normalize_keys(self.keys, obs, self.path)
        check_unique(keys, self.path)
        position = match_rows(keys, obs, self.path, what)
        unmatched = np.ones(len(keys), dtype=bool)
        if "experiment" in keys:
            unmatched = keys["experiment"].isin(_distinct(obs, "experiment")).to_numpy(copy=True)
        unmatched[position[position >= 0]] = False
        return FoundRows(position, unmatched)

    def check_identifies(self, stores: Mapping[str, pd.DataFrame]) -> None:
        """Refuse a key without a column that observations differ in which it would not tell apart.

        Parameters
        ----------
        stores : mapping of str to pandas.DataFrame
            Observations by what they are.

        Raises
        ------
        UserError
            When observations of several experiments, or fields of view of one store, share a key.
        """
        key = ", ".join(self.keys) or "none"
        experiments = set().union(*(_distinct(obs, "experiment") for obs in stores.values()))
        if "experiment" not in self.keys and len(experiments) > 1:
            raise UserError(
                f"{self.path}: has no column 'experiment' (key: {key}), but there are observations "
                f"of {len(experiments)} experiments ({_shown(experiments)}). Add the column, or "
                "give the observations of one."
            )
        for what, obs in stores.items():
            fovs = _distinct(obs, "fov")
            if "fov" not in self.keys and len(fovs) > 1:
                raise UserError(
                    f"{self.path}: has no column 'fov' or 'fov_name' (key: {key}; other columns: "
                    f"{', '.join(map(str, self.labels)) or 'none'}), but {what} has {len(fovs)} "
                    f"fields of view ({_shown(fovs)}). Name the column of the field of view so."
                )


def _distinct(obs: pd.DataFrame, name: str) -> list[str]:
    return list(map(str, obs[name].unique())) if name in obs else []


def _shown(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (" ..." if len(names) > 3 else "")


def read_label_table(
    path: str | Path,
    key: Sequence[str] | None = None,
    with_markers: bool = False,
    header_only: bool = False,
) -> LabelTable:
    """Read a label table; columns without a name are left out.

    Parameters
    ----------
    path : str or Path
        CSV (UTF-8) or Parquet, whatever the suffix.
    key : sequence of str, optional
        Key columns; default: those of experiment, fov, track_id and t that there are.
    with_markers : bool
        Whether ``marker`` is one of the default ones.
    header_only : bool
        Whether only the names of its columns are read, and no row.

    Raises
    ------
    UserError
        When the file cannot be read, a column is there twice or missing, or one that is no key is
        named like a key.
    """
    path = Path(path)
    rows, provenance = _read_rows(path, header_only)
    rows = _rename_fov(_drop_unnamed(rows, path), path)
    known = [*KEY, MARKER] if with_markers else KEY
    chosen = ["fov" if name == "fov_name" else name for name in key or ()]
    chosen = chosen or [name for name in known if name in rows]
    if not key:
        _check_names(rows, path)
    for name in chosen:
        if name not in rows:
            raise UserError(f"{path}: no column {name!r}. {did_you_mean(name, rows.columns)}.")
    if not chosen:
        raise UserError(
            f"{path}: has none of {', '.join(KEY)}, only {', '.join(rows.columns)}. "
            "Rename the columns that say which observation a row is of, or name them as the key."
        )
    keys = rows[chosen]
    if "fov" in keys:
        keys = keys.assign(fov=keys["fov"].astype(str).str.strip().str.strip("/"))
    labels = [name for name in rows if name not in chosen]
    typed = {name: _typed(rows[name]) for name in labels}
    return LabelTable(path, keys, pd.DataFrame(typed, index=rows.index), provenance)


def _read_rows(path: Path, header_only: bool) -> tuple[pd.DataFrame, Any]:
    """Rows indexed by their number in the file, and what it says of its origin."""
    if not path.is_file():
        raise UserError(f"{path}: no such label table. Correct the path.")
    with path.open("rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    try:
        if not is_parquet:
            beside = path.with_name(path.name + ".json")
            return _read_csv(path, header_only), read_json(beside) if beside.is_file() else None
        table = pq.read_schema(path).empty_table() if header_only else pq.read_table(path)
        rows = table.to_pandas(ignore_metadata=True)
        content = (table.schema.metadata or {}).get(b"dynaclr")
        return rows.set_axis(rows.index + 1), json.loads(content) if content else None
    except (ValueError, OSError, pa.ArrowException) as error:
        kind = "Parquet" if is_parquet else "CSV"
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as {kind} ({reason}). Fix the file.") from None


def _read_csv(path: Path, header_only: bool) -> pd.DataFrame:
    """All columns as text, empty where missing; the header is row 1, blank lines are counted."""
    with path.open(encoding="utf-8-sig") as stream:
        header = stream.readline()
    rows = pd.read_csv(
        path,
        sep=max(",;\t", key=header.count),
        header=None,
        dtype=str,
        keep_default_na=False,
        skipinitialspace=True,
        skip_blank_lines=False,
        encoding="utf-8-sig",
        nrows=1 if header_only else None,
    ).fillna("")
    names = rows.iloc[0].str.strip()
    rows = rows.iloc[1:].set_axis(names, axis=1).rename_axis(columns=None)
    rows = rows.set_axis(rows.index + 1)
    return rows[(rows != "").any(axis=1)]


def _drop_unnamed(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Leave out columns that have no name of their own, as pandas writes its row numbers."""
    rows = rows.set_axis(rows.columns.astype(str), axis=1)
    unnamed = rows.columns.str.fullmatch(r"|Unnamed: \d+|__index_level_\d+__")
    if unnamed.any():
        names = ", ".join(map(repr, rows.columns[unnamed]))
        logger.warning("%s: columns without a name are left out: %s", path, names)
    rows = rows.loc[:, ~unnamed]
    twice = rows.columns[rows.columns.duplicated()]
    if len(twice):
        raise UserError(f"{path}: has the column {twice[0]!r} twice. Remove or rename one.")
    return rows


def _rename_fov(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    if {"fov", "fov_name"} <= {*rows.columns}:
        raise UserError(f"{path}: has a column 'fov' and a column 'fov_name'. Remove one.")
    return rows.rename(columns={"fov_name": "fov"})


def _check_names(rows: pd.DataFrame, path: Path) -> None:
    """Refuse a column that is named like a key which is missing."""
    for key, like in _LIKE_A_KEY.items():
        for name in () if key in rows else rows.columns:
            if re.fullmatch(like, re.sub(r"\W+", "_", name.strip().lower())):
                raise UserError(
                    f"{path}: no column {key!r}, but one {name!r}. Rename it to {key!r} if it says "
                    "which observation a row is of, else to something else."
                )


def _typed(values: pd.Series) -> pd.Series:
    """Numbers where a column holds nothing else, and text as it is; None where it is empty."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values
    text = values.astype(str).str.strip()
    is_missing = values.isna() | (text == "")
    given = text[~is_missing]
    text = text.astype(object).mask(is_missing, None)
    is_number = len(given) > 0 and bool(given.str.fullmatch(_NUMBER, case=False).all())
    # Of numbers alone, "nan" and what is missing cannot be converted.
    return pd.to_numeric(text, errors="coerce") if is_number else text


def as_classes(values: pd.Series) -> pd.Series:
    """Whole numbers as text, ``1`` for 1.0; other numbers and text as they are."""
    if not pd.api.types.is_numeric_dtype(values) or (values.dropna() % 1 != 0).any():
        return values
    return values.astype("Int64").astype("string").astype(object).where(values.notna(), None)


def check_label_names(
    names: Iterable[str], metadata: Iterable[str], where: str, problems: Problems
) -> None:
    """Collect names of labels that cannot be columns of the index beside its `metadata`."""
    for name in names:
        try:
            check_column_name(name)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            problems.add(where, f"column {what}", fix[:1].upper() + fix[1:])
        if name in metadata:
            problems.add(where, f"column {name!r} is a key of metadata too", "Rename one")


def label_digests(path: Path) -> dict[str, str]:
    """Digest of each column of labels with its keys, whatever the order of the rows.

    Raises
    ------
    UserError
        When the table cannot be read.
    """
    return dict(read_cached("labels", path, _digests))


def _digests(path: Path) -> tuple[dict[str, str], list[Path]]:
    table, found = read_label_table(path), {}
    keys = table.keys.astype(str)
    for name in table.labels:
        values = as_classes(table.labels[name])
        given = values.notna()
        rows = keys[given].assign(**{"": values[given].astype(str)})
        hashes = np.sort(pd.util.hash_pandas_object(rows, index=False).to_numpy())
        header = f"{list(keys)} {values.dtype.kind}".encode()
        found[str(name)] = hashlib.sha256(header + hashes.tobytes()).hexdigest()
    return found, [path]
