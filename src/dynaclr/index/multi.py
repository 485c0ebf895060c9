"""Index of all observations of many experiments, read as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, ExperimentRegistry, Problems, UserError
from dynaclr.config.columns import SPLIT
from dynaclr.config.errors import did_you_mean
from dynaclr.config.expression import Expression
from dynaclr.config.registry import validate_entry
from dynaclr.index.anchors import Anchors, check_border
from dynaclr.index.build import index_experiment
from dynaclr.index.columns import shapes_of
from dynaclr.index.fovs import FovExtents, FovRuns
from dynaclr.index.labels import CELLS
from dynaclr.index.markers import MarkerPairs
from dynaclr.index.merge import INDEX, REGISTRY, collate, with_labels
from dynaclr.index.table import IndexTable
from dynaclr.io.artifacts import read_json, reading
from dynaclr.io.parquet import read_parquet


class MultiExperimentIndex(IndexTable):
    """Observations of many experiments: one row a cell and frame, channels do not multiply rows.

    Rows are sorted by (experiment, fov, t, branch); the columns are described in
    `dynaclr.index.columns`. Build one with `from_merged`, `from_parquet` or `from_registry`.

    An index that was opened from a merged file is mapped, not read: processes on one machine share
    it, and a pickle of it holds the path alone. An index that was built in memory is pickled whole.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Columns without nulls, text dictionary-encoded.
    registry : ExperimentRegistry, optional
        Entries of the experiments, for markers.
    path : Path, optional
        Merged file that `batch` is mapped from.
    labels : mapping of str to Path, optional
        Experiment to the folder of its results, whose labels become columns.
    columns : sequence of str, optional
        Columns of labels to take; default: all that there are.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        registry: ExperimentRegistry | None = None,
        path: Path | None = None,
        labels: Mapping[str, Path] | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(batch)
        self._registry = registry
        self.path, self._labels, self._label_columns = path, labels, columns
        if labels is not None:
            self._batch = with_labels(self, labels, columns)

    @classmethod
    def from_merged(
        cls,
        path: str | Path,
        labels: str | Path | None = None,
        columns: Sequence[str] | None = None,
    ) -> MultiExperimentIndex:
        """Map a merged index into memory.

        Parameters
        ----------
        path : str or Path
            ``index.arrow``, or the collection's folder.
        labels : str or Path, optional
            Folder with ``<experiment>/labels/<column>.parquet``; without it there are no labels.
        columns : sequence of str, optional
            Columns of labels to take; default: all that there are.

        Raises
        ------
        UserError
            When there is no such file, or it is no merged index.
        """
        path = Path(path).absolute()
        path = path / INDEX if path.is_dir() else path
        with reading(path):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if reader.num_record_batches != 1:
                raise pa.ArrowInvalid(f"no merged index but {reader.num_record_batches} batches")
            index = cls(reader.get_batch(0), path=path)
        if labels is None:
            return index
        folders = {name: Path(labels).absolute() / name for name in index.experiments}
        return cls(index._batch, path=path, labels=folders, columns=columns)

    @classmethod
    def from_parquet(
        cls,
        paths: Iterable[str | Path],
        registry: ExperimentRegistry | None = None,
        labels: bool = True,
    ) -> MultiExperimentIndex:
        """Read experiments' indexes into memory, without a split.

        Parameters
        ----------
        paths : iterable of str or Path
            ``cells.parquet`` files, or the folders that hold them, in any order.
        registry : ExperimentRegistry, optional
            Entries of the experiments, for markers.
        labels : bool
            Whether the labels beside them become columns.

        Raises
        ------
        UserError
            When a file is missing or an experiment is given twice.
        """
        problems, cells = Problems(), {}
        for given in map(Path, paths):
            path = given / CELLS if given.is_dir() else given
            if not path.is_file():
                problems.add(path, "no such file", "Run the index stage of this experiment")
                continue
            name = _experiment_of(path)
            if name in cells:
                problems.add(path, f"experiment {name} is given twice", "Give it once")
            cells[name] = path
        if not cells and not problems.found:
            problems.add("index", "no experiment is given", "Give at least one")
        problems.raise_if_any()
        folders = {name: path.parent for name, path in cells.items()} if labels else None
        return cls(collate(cells), registry, labels=folders)

    @classmethod
    def from_registry(
        cls, registry: ExperimentRegistry, results_dir: str | Path | None = None
    ) -> MultiExperimentIndex:
        """Index all experiments of a registry, without a split.

        Parameters
        ----------
        registry : ExperimentRegistry
        results_dir : str or Path, optional
            Folder with ``<experiment>/cells.parquet``; by default the experiments are indexed
            anew, in memory.

        Raises
        ------
        UserError
            With the errors of all experiments.
        """
        if results_dir is not None:
            return cls.from_parquet(
                [Path(results_dir) / name / CELLS for name in registry], registry
            )
        problems, cells = Problems(), {}
        for name, entry in registry.items():
            try:
                cells[name], _ = index_experiment(entry)
            except UserError as error:
                problems.found.append(str(error))
        problems.raise_if_any()
        return cls(collate(cells), registry)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if self.path is not None:
            folder = None if self._labels is None else next(iter(self._labels.values())).parent
            return type(self).from_merged, (self.path, folder, self._label_columns)
        return type(self), (self._batch, self._registry)

    def __repr__(self) -> str:
        return f"MultiExperimentIndex({len(self):,} observations, {self.experiments})"

    @cached_property
    def registry(self) -> ExperimentRegistry:
        """Entries of the experiments.

        Raises
        ------
        UserError
            When the index was built without them.
        """
        if self._registry is not None:
            return self._registry
        if self.path is None:
            raise UserError(
                "index: the experiments' entries are not known. Give `registry` to `from_parquet`."
            )
        problems, path = Problems(), self.path.with_name(REGISTRY)
        entries = [
            validate_entry(content, Path.cwd(), str(path), problems) for content in read_json(path)
        ]
        problems.raise_if_any()
        return ExperimentRegistry(entry for entry in entries if entry is not None)

    def _entry(self, experiment: str) -> ExperimentConfig:
        if experiment not in self.registry:
            raise UserError(
                f"index: the registry has no experiment {experiment}. "
                f"{did_you_mean(experiment, self.registry)}"
            )
        return self.registry[experiment]

    @cached_property
    def fovs(self) -> FovRuns:
        """Fields of view as runs of rows."""
        return FovRuns(self)

    @cached_property
    def markers(self) -> dict[str, dict[str, list[str]]]:
        """Markers of each experiment and well that has observations, in the entry's order."""
        found: dict[str, dict[str, list[str]]] = {}
        for experiment, well in sorted(set(zip(self.fovs.experiment, self.fovs.well, strict=True))):
            entry = self._entry(experiment)
            found.setdefault(experiment, {})[well] = [
                marker for marker in entry.markers if entry.has_marker(marker, well)
            ]
        return found

    def marker_pairs(self, rows: NDArray[np.int64] | None = None) -> MarkerPairs:
        """Number the (row, marker) pairs of a bag of channels.

        Parameters
        ----------
        rows : ndarray of int64, optional
            Row numbers, ascending; default: all.

        Returns
        -------
        MarkerPairs
        """
        fovs = self.fovs
        of_fov = [self.markers[e][w] for e, w in zip(fovs.experiment, fovs.well, strict=True)]
        names = sorted({marker for markers in of_fov for marker in markers})
        has_marker = np.array([[name in markers for name in names] for markers in of_fov])
        rows = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        return MarkerPairs(rows, fovs.of_row[rows], has_marker, names)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one side of the split, ``train`` or ``validation``.

        Raises
        ------
        UserError
            When the index has no split or no such side.
        """
        return np.flatnonzero(self.in_split(split))

    def valid_anchors(
        self,
        *,
        split: str | None = None,
        include_wells: Mapping[str, Sequence[str]] | None = None,
        exclude_fovs: Mapping[str, Sequence[str]] | None = None,
        query: str | None = None,
        has_positive: NDArray[np.bool_] | None = None,
        patch_size: tuple[int, int] | FovExtents | None = None,
        max_border_shift: int | None = None,
        image_shapes: FovExtents | None = None,
    ) -> Anchors:
        """Select the rows that pass every filter, and fit their patches into the image.

        Parameters
        ----------
        split : str, optional
            ``train`` or ``validation``.
        include_wells, exclude_fovs : mapping of str to sequence of str, optional
            Experiment to wells (``row/column``) to keep, or fields of view (``row/column/fov``)
            to leave out. Experiments that are not named are not touched.
        query : str, optional
            Condition on the columns, as `dynaclr.config.expression.Expression` takes it.
        has_positive : ndarray of bool, shape (N,), optional
            Rows for which a positive exists.
        patch_size : tuple of int, or mapping of (experiment, fov) to (height, width), optional
            Height and width of the patch in pixels of the image; by default borders do not matter.
        max_border_shift : int, optional
            Rows whose patch would have to move by more than this many pixels along y or x are left
            out; by default each moves as far as it must and none is left out.
        image_shapes : mapping of (experiment, fov) to (height, width), optional
            In pixels; default: as the plates were indexed.

        Returns
        -------
        Anchors

        Raises
        ------
        UserError
            When a name is unknown, names are not given as lists, the query cannot be evaluated,
            sizes are no pixels, or an image is smaller than the patch.
        ValueError
            When `has_positive` is no boolean array of one entry a row.
        """
        check_border(patch_size, max_border_shift)
        filters = self._filters(split, include_wells, exclude_fovs, query, has_positive)
        anchors = Anchors.passing(self, filters)
        if patch_size is not None:
            shapes = self.image_shapes if image_shapes is None else image_shapes
            anchors = anchors.fit(self.fovs, patch_size, shapes, max_border_shift)
        return anchors

    def _filters(
        self,
        split: str | None,
        include_wells: Mapping[str, Sequence[str]] | None,
        exclude_fovs: Mapping[str, Sequence[str]] | None,
        query: str | None,
        has_positive: NDArray[np.bool_] | None,
    ) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Name and passing rows of each filter that is given, one mask at a time."""
        if split is not None:
            yield "split", self.in_split(split)
        if include_wells is not None:
            named = self.fovs.listed("well", include_wells, "include_wells")
            named |= ~np.isin(self.fovs.experiment, list(include_wells))
            yield "include_wells", self.fovs.rows(named)
        if exclude_fovs is not None:
            named = self.fovs.listed("fov", exclude_fovs, "exclude_fovs")
            yield "exclude_fovs", self.fovs.rows(~named)
        if query is not None:
            yield "query", self._query(query)
        if has_positive is not None:
            yield "has_positive", has_positive

    def _query(self, query: str) -> NDArray[np.bool_]:
        try:
            expression = Expression(query)
        except ValueError as error:
            raise UserError(f"index: query {str(error).replace(';', '.')}") from None
        return expression.rows(self.tracks, "index: query")

    @cached_property
    def plate_shapes(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Extent (T, C, Z, Y, X) that each (experiment, fov) had when it was indexed, in pixels."""
        return {
            (experiment, fov): tuple(shape)
            for experiment, fovs in shapes_of(self._batch.schema).items()
            for fov, shape in fovs.items()
        }

    @property
    def image_shapes(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Height and width in pixels of each (experiment, fov)."""
        return {key: (shape[3], shape[4]) for key, shape in self.plate_shapes.items()}

    def summary(self) -> pd.DataFrame:
        """Count what each experiment holds.

        Returns
        -------
        pandas.DataFrame
            One row an experiment.
        """
        groups = self.tracks.groupby("experiment", observed=True)
        counts = groups.agg(
            rows=("t", "size"),
            tracks=("branch", "nunique"),
            lineages=("lineage_id", "nunique"),
            fovs=("fov", "nunique"),
            wells=("well", "nunique"),
            frames=("t", "nunique"),
            first_hour=("hours", "min"),
            last_hour=("hours", "max"),
            conditions=("condition", lambda found: ", ".join(sorted(found.unique()))),
        )
        if SPLIT in self.columns:
            sides = groups[SPLIT].value_counts().unstack(fill_value=0)
            counts = counts.join(sides.set_axis(sides.columns.astype(str), axis=1))
        return counts.set_axis(counts.index.astype(str))


def _experiment_of(path: Path) -> str:
    try:
        (name,) = read_parquet(path, ["experiment"])["experiment"].unique().to_pylist()
    except ValueError as error:
        raise UserError(
            f"{path}: no index of one experiment ({error}). Run the index stage again."
        ) from None
    return str(name)
