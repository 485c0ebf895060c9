"""One index over the experiments of a collection, memory-mappable, with its split.

The merged index is an Arrow IPC file with a single record batch and no compression: its columns
are arrays on disk, and processes that map it share one copy in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import Problems, UserError
from dynaclr.config.columns import SPLIT, UNKNOWN
from dynaclr.index.build import SUMMARY
from dynaclr.index.columns import SCHEMA, shapes_of, text_column, with_shapes
from dynaclr.index.labels import CELLS, names_of_labels, read_labels
from dynaclr.index.split import check_split, split_units
from dynaclr.index.table import IndexTable
from dynaclr.io.artifacts import (
    atomic_path,
    digest_path,
    read_digest,
    read_json,
    write_digest,
    write_json,
)
from dynaclr.io.parquet import read_parquet

INDEX = "index.arrow"
MANIFEST = "manifest.json"
REGISTRY = "registry.json"
SIDES = ("train", "validation")
_UNITS = {"fov": "fields of view", "lineage": "lineages"}
_OF_UNITS = ["fov", "lineage_id", "generation", "track_id"]


def merge_indexes(
    experiment_dirs: Sequence[str | Path],
    out_dir: str | Path,
    train: Sequence[str],
    validation: Sequence[str] = (),
    validation_fov_fraction: float | None = None,
    validation_lineage_fraction: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Join experiments' indexes into a collection's.

    Writes ``index.arrow`` with its digest, ``manifest.json`` (counts, digests, split) and
    ``registry.json`` (the entries, so that training finds plates and channels). The order of
    `experiment_dirs` does not matter.

    Parameters
    ----------
    experiment_dirs : sequence of str or Path
        Folders that `build_index` wrote.
    out_dir : str or Path
        Folder of the collection; made when missing.
    train, validation : sequence of str
        Experiments on either side of the split; each one given must be on one of them.
    validation_fov_fraction : float, optional
        Instead of `validation`: share of the fields of view of each training experiment that
        validate, at least one where there are two.
    validation_lineage_fraction : float, optional
        Or of the lineages, for experiments of a single field of view. Cells of both sides may then
        lie in the same patch.
    seed : int
        Chooses these.

    Returns
    -------
    dict
        Content of ``manifest.json``.

    Raises
    ------
    UserError
        When an index is missing or was changed after it was made, an experiment is given twice, or
        the split leaves a side empty.
    """
    sources = _open_sources([Path(folder) for folder in experiment_dirs])
    fractions = {"fov": validation_fov_fraction, "lineage": validation_lineage_fraction}
    check_split(list(sources), train, validation, *fractions.values())
    validating: Mapping[str, Sequence[str] | None] = dict.fromkeys(validation)
    by = next((unit for unit, fraction in fractions.items() if fraction is not None), "experiment")
    if by != "experiment":
        conditions = {name: source.condition_of(by) for name, source in sources.items()}
        validating = split_units(conditions, fractions[by] or 0, seed, _UNITS[by])
    cells = {name: source.cells for name, source in sources.items()}
    batch = collate(cells, validating, by)
    out_dir = Path(out_dir)
    _write_batch(out_dir / INDEX, batch)
    manifest = {
        "digest": write_digest(out_dir / INDEX),
        "rows": batch.num_rows,
        "experiments": {
            name: {"digest": source.digest} | counts
            for (name, source), counts in zip(sources.items(), _counts(batch), strict=True)
        },
        "split": {
            "by": by,
            "train": sorted(train),
            "validation": sorted(validation),
            "validation_fov_fraction": validation_fov_fraction,
            "validation_lineage_fraction": validation_lineage_fraction,
            "validation_fovs": validating if by == "fov" else {},
            # As <fov>/<track in which it begins>.
            "validation_lineages": validating if by == "lineage" else {},
            "seed": None if validation else seed,
        },
    }
    write_json(out_dir / MANIFEST, manifest)
    write_json(out_dir / REGISTRY, [source.entry for source in sources.values()])
    return manifest


def _write_batch(path: Path, batch: pa.RecordBatch) -> None:
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


@dataclass(frozen=True)
class _Source:
    """One experiment's finished index."""

    cells: Path
    digest: str
    entry: dict[str, Any]

    def condition_of(self, by: str) -> dict[str, str]:
        """Condition of each field of view or lineage, by its name."""
        table = read_parquet(self.cells, ["condition", *_OF_UNITS])
        codes, names = _units(table, by)
        found, first = np.unique(codes, return_index=True)
        conditions = table["condition"].take(first).to_pylist()
        return dict(zip([names[code] for code in found], conditions, strict=True))


def _open_sources(folders: list[Path]) -> dict[str, _Source]:
    """Experiments by name, in sorted order, each compared with its digest."""
    problems, sources = Problems(), {}
    for folder in folders:
        try:
            summary = read_json(folder / SUMMARY)
            digest = read_digest(folder / CELLS)
            actual = digest_path(folder / CELLS)
        except UserError as error:
            problems.found.append(str(error))
            continue
        if not digest == actual == summary["digest"]:
            problems.add(
                folder / CELLS,
                "was changed after it was made (its digest differs)",
                "Run the index stage of this experiment again",
            )
        name = summary["experiment"]
        if name in sources:
            problems.add(folder, f"experiment {name} is given twice", "Give it once")
        sources[name] = _Source(folder / CELLS, digest, summary["entry"])
    problems.raise_if_any()
    return dict(sorted(sources.items()))


def collate(
    cells: Mapping[str, Path | pa.Table],
    validating: Mapping[str, Sequence[str] | None] | None = None,
    by: str = "fov",
) -> pa.RecordBatch:
    """Join cell indexes into one record batch, in the sorted order of the experiments' names.

    Lineages and branches are numbered on from one experiment to the next. Text that an experiment
    does not give becomes ``unknown``, numbers NaN; a column that is text in one experiment is text
    in all. Categories are sorted.

    Parameters
    ----------
    cells : mapping of str to Path or pyarrow.Table
        Experiment to its cell index.
    validating : mapping of str to list of str, optional
        Experiment to the fields of view or lineages that validate (None: all of them); adds the
        column ``split``.
    by : {"fov", "lineage"}
        Which of both.

    Returns
    -------
    pyarrow.RecordBatch
        Without nulls.
    """
    schemas = {name: _schema_and_size(source) for name, source in sorted(cells.items())}
    total = sum(size for _, size in schemas.values())
    found = {name for schema, _ in schemas.values() for name in schema.names}
    names = [*SCHEMA.names, *sorted(found - set(SCHEMA.names))]
    columns = _empty_columns([schema for schema, _ in schemas.values()], names, total)
    if validating is not None:
        columns[SPLIT] = _TextColumn(total)
    offsets = {"lineage_id": 0, "branch": 0, "branch_end": 0}
    start = 0
    for name, (_, size) in schemas.items():
        source = cells[name]
        table = source if isinstance(source, pa.Table) else read_parquet(source)
        if validating is not None:
            table = table.append_column(SPLIT, _sides(table, validating.get(name, ()), by))
        rows = slice(start, start + size)
        for key, column in columns.items():
            values = table[key] if key in table.column_names else None
            column.put(rows, pc.add(values, offsets[key]) if key in offsets else values)
        offsets["lineage_id"] += pc.max(table["lineage_id"]).as_py() + 1
        offsets["branch"] += pc.max(table["branch_end"]).as_py()
        offsets["branch_end"] = offsets["branch"]
        start += size
    arrays = {key: column.finish() for key, column in columns.items()}
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    shapes = [shapes_of(schema) for schema, _ in schemas.values()]
    return with_shapes(batch, {name: fovs for part in shapes for name, fovs in part.items()})


def _schema_and_size(source: Path | pa.Table) -> tuple[pa.Schema, int]:
    if isinstance(source, pa.Table):
        return source.schema, source.num_rows
    return pq.read_schema(source), pq.read_metadata(source).num_rows


class _TextColumn:
    """Text being gathered: codes, and categories in the order in which they were met."""

    def __init__(self, size: int) -> None:
        self.codes = np.empty(size, np.int32)
        self.known: dict[str, int] = {}

    def put(self, rows: slice, column: pa.ChunkedArray | None) -> None:
        if column is None:
            self.codes[rows] = self._code(UNKNOWN)
            return
        codes, categories = text_codes(column)
        lookup = [self._code(category) for category in categories]
        if np.any(codes < 0):
            lookup.append(self._code(UNKNOWN))  # a null has the code -1, the last entry
        self.codes[rows] = np.array(lookup, np.int32)[codes]

    def _code(self, category: str) -> int:
        return self.known.setdefault(category, len(self.known))

    def finish(self) -> pa.Array:
        categories = sorted(self.known)
        sorted_code = np.empty(len(categories), np.int32)
        sorted_code[[self.known[name] for name in categories]] = np.arange(len(categories))
        return text_column(sorted_code[self.codes], categories)


class _NumberColumn:
    """Numbers being gathered; NaN where an experiment gives none."""

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.values = np.empty(size, dtype)

    def put(self, rows: slice, column: pa.ChunkedArray | None) -> None:
        self.values[rows] = np.nan if column is None else column.to_numpy()

    def finish(self) -> pa.Array:
        # from_pandas=False keeps NaN a value; a null would need a mask beside the numbers.
        return pa.array(self.values, from_pandas=False)


def with_labels(
    index: IndexTable, folders: Mapping[str, Path], columns: Sequence[str] | None
) -> pa.RecordBatch:
    """Rows of an index with the labels of its experiments as further columns, as `collate` joins.

    Parameters
    ----------
    index : IndexTable
    folders : mapping of str to Path
        Experiment to the folder of its results.
    columns : sequence of str, optional
        Columns of labels to take, where there are any; default: all that there are.

    Raises
    ------
    UserError
        When labels do not fit the index, or one is named like a key of another's metadata.
    """
    sizes = np.bincount(index.codes("experiment")[0], minlength=len(index.experiments))
    ends = np.cumsum(sizes)
    rows_of = [slice(*pair) for pair in zip(ends - sizes, ends, strict=True)]
    track_id, t = index.column("track_id"), index.column("t")
    tables = [
        read_labels(folders[name], columns, track_id[rows], t[rows])
        for name, rows in zip(index.experiments, rows_of, strict=True)
    ]
    names = sorted({name for table in tables for name in names_of_labels(table)})
    for name in set(names) & set(index.columns):
        raise UserError(
            f"index: {name!r} is a label of one experiment and a key of the metadata of another. "
            "Rename one."
        )
    gathered = _empty_columns([table.schema for table in tables], names, len(index))
    for table, rows in zip(tables, rows_of, strict=True):
        for name, column in gathered.items():
            column.put(rows, table[name] if name in table.column_names else None)
    joined = index.table
    for name, column in gathered.items():
        joined = joined.append_column(name, column.finish())
    return joined.to_batches()[0]


def _empty_columns(
    schemas: Sequence[pa.Schema], names: Sequence[str], total: int
) -> dict[str, _TextColumn | _NumberColumn]:
    columns: dict[str, _TextColumn | _NumberColumn] = {}
    for name in names:
        kinds = [schema.field(name).type for schema in schemas if name in schema.names]
        if any(pa.types.is_dictionary(kind) for kind in kinds):
            columns[name] = _TextColumn(total)
        elif len(set(kinds)) == 1 and len(kinds) == len(schemas):
            columns[name] = _NumberColumn(total, np.dtype(kinds[0].to_pandas_dtype()))
        else:
            columns[name] = _NumberColumn(total, np.dtype(np.float64))
    return columns


def text_codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[str]]:
    """Codes and categories of a text column, or of numbers as text; -1 where it is null."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.to_pylist()


def _units(table: pa.Table, by: str) -> tuple[NDArray[np.int64], list[str]]:
    """Number of each row's field of view or lineage, and names that no order of rows changes."""
    if by != "lineage":
        codes, names = text_codes(table["fov"])
        return codes.astype(np.int64), names
    roots = table.select(_OF_UNITS).filter(pc.equal(table["generation"], 0)).to_pandas()
    roots = roots.drop_duplicates("lineage_id").sort_values("lineage_id")
    lineage = np.searchsorted(roots["lineage_id"], table["lineage_id"].to_numpy())
    return lineage, (roots["fov"].astype(str) + "/" + roots["track_id"].astype(str)).tolist()


def _sides(table: pa.Table, validating: Sequence[str] | None, by: str) -> pa.DictionaryArray:
    """Side of each row by its field of view or lineage."""
    codes, names = _units(table, by)
    known = set(validating or ())
    chosen = np.array([validating is None or name in known for name in names], np.int32)
    return text_column(chosen[codes], SIDES)


def _counts(batch: pa.RecordBatch) -> list[dict[str, dict[str, int]]]:
    """Rows, tracks, lineages and fields of view of each experiment, side by side."""
    columns = ["experiment", SPLIT, "branch", "lineage_id", "fov"]
    groups = batch.select(columns).to_pandas().groupby(["experiment", SPLIT], observed=True)
    counts = groups.agg(
        rows=("branch", "size"),
        tracks=("branch", "nunique"),
        lineages=("lineage_id", "nunique"),
        fovs=("fov", "nunique"),
    )
    found = counts.to_dict("index")
    none = dict.fromkeys(counts.columns, 0)
    experiments = batch["experiment"].dictionary.to_pylist()
    return [{side: found.get((name, side), none) for side in SIDES} for name in experiments]
