"""All observations of many experiments, seen as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, ExperimentRegistry, Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.registry import validate_entry
from dynaclr.index.anchors import Anchors, border_shift
from dynaclr.index.build import CELLS, index_experiment
from dynaclr.index.columns import SPLIT
from dynaclr.index.fovs import FovExtents, FovRuns
from dynaclr.index.markers import MarkerPairs
from dynaclr.index.merge import INDEX, REGISTRY, collate
from dynaclr.io import Plate
from dynaclr.io.artifacts import read_json


class MultiExperimentIndex:
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
        Entries of the experiments, for markers and image shapes.
    path : Path, optional
        Merged file that `batch` is mapped from.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        registry: ExperimentRegistry | None = None,
        path: Path | None = None,
    ) -> None:
        self._batch = batch
        self._registry = registry
        self.path = path

    @classmethod
    def from_merged(cls, path: str | Path) -> MultiExperimentIndex:
        """Map a merged index into memory.

        Parameters
        ----------
        path : str or Path
            ``index.arrow``, or the collection's folder.

        Raises
        ------
        UserError
            When there is no such file, or it is no merged index.
        """
        path = Path(path).absolute()
        path = path / INDEX if path.is_dir() else path
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if reader.num_record_batches != 1:
                raise pa.ArrowInvalid(f"{reader.num_record_batches} record batches")
            return cls(reader.get_batch(0), path=path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file. Run the merge stage first.") from None
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{path}: no merged index ({error}). Run the merge stage again."
            ) from None

    @classmethod
    def from_parquet(
        cls, paths: Iterable[str | Path], registry: ExperimentRegistry | None = None
    ) -> MultiExperimentIndex:
        """Read experiments' indexes into memory, without a split.

        Parameters
        ----------
        paths : iterable of str or Path
            ``cells.parquet`` files, or the folders that hold them, in any order.
        registry : ExperimentRegistry, optional
            Entries of the experiments, for markers and image shapes.

        Raises
        ------
        UserError
            When a file is missing or an experiment stands twice.
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
        return cls(collate(cells), registry)

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
            With the faults of all experiments.
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
            return type(self).from_merged, (self.path,)
        return type(self), (self._batch, self._registry)

    def __len__(self) -> int:
        return self._batch.num_rows

    def __repr__(self) -> str:
        return f"MultiExperimentIndex({len(self):,} observations, {self.experiments})"

    @property
    def table(self) -> pa.Table:
        """All columns as an Arrow table, without a copy."""
        return pa.Table.from_batches([self._batch])

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._batch.schema.names

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments, sorted."""
        return self.codes("experiment")[1]

    def is_text(self, name: str) -> bool:
        """Whether a column is text, read with `codes`; else it is read with `column`."""
        return pa.types.is_dictionary(self._array(name).type)

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of numbers, without a copy.

        Returns
        -------
        ndarray, shape (N,)
            Read-only.

        Raises
        ------
        UserError
            When there is no such column, or it is text.
        """
        if self.is_text(name):
            raise UserError(f"index: column {name} is text. Read it with `codes`.")
        return self._array(name).to_numpy()

    def codes(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Read a text column as codes and sorted categories, without a copy.

        Returns
        -------
        codes : ndarray of int32, shape (N,)
            Read-only; places in `categories`.
        categories : list of str

        Raises
        ------
        UserError
            When there is no such column, or it holds numbers.
        """
        if not self.is_text(name):
            raise UserError(f"index: column {name} holds numbers. Read it with `column`.")
        encoded = self._array(name)
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()

    def _array(self, name: str) -> pa.Array:
        if name not in self._batch.schema.names:
            raise UserError(f"index: no column {name!r}. {did_you_mean(name, self.columns)}")
        return self._batch.column(name)

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """All observations; numbers are not copied, text is categorical."""
        return self._batch.to_pandas(split_blocks=True)

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
    def _fovs(self) -> FovRuns:
        return FovRuns(self)

    @cached_property
    def markers(self) -> dict[str, dict[str, list[str]]]:
        """Markers of each experiment and well that has observations, in the entry's order."""
        found: dict[str, dict[str, list[str]]] = {}
        for experiment, well in sorted(
            set(zip(self._fovs.experiment, self._fovs.well, strict=True))
        ):
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
        fovs = self._fovs
        of_fov = [self.markers[e][w] for e, w in zip(fovs.experiment, fovs.well, strict=True)]
        names = sorted({marker for markers in of_fov for marker in markers})
        has_marker = np.array([[name in markers for name in names] for markers in of_fov])
        rows = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        group = fovs.rows(np.arange(len(fovs.start), dtype=np.int32))[rows]
        return MarkerPairs(rows, group, has_marker, names)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one side of the split, ``train`` or ``validation``.

        Raises
        ------
        UserError
            When the index has no split or no such side.
        """
        return np.flatnonzero(self._on_side(split))

    def _on_side(self, split: str) -> NDArray[np.bool_]:
        if SPLIT not in self.columns:
            raise UserError("index: it has no split. Open a merged index with `from_merged`.")
        codes, sides = self.codes(SPLIT)
        if split not in sides:
            raise UserError(f"index: no side {split!r} of the split. {did_you_mean(split, sides)}")
        return codes == sides.index(split)

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
            Expression of `pandas.DataFrame.query` over the columns.
        has_positive : ndarray of bool, shape (N,), optional
            Rows for which a positive exists.
        patch_size : tuple of int, or mapping of (experiment, fov) to (height, width), optional
            Height and width of the patch in pixels of the image; by default borders are not looked
            at.
        max_border_shift : int, optional
            Rows whose patch would have to move by more than this many pixels along y or x are left
            out; by default each moves as far as it must and none is left out.
        image_shapes : mapping of (experiment, fov) to (height, width), optional
            In pixels; default: read from the plates' metadata.

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
        _check_border(patch_size, max_border_shift)
        filters: dict[str, NDArray[np.bool_]] = {}
        if split is not None:
            filters["split"] = self._on_side(split)
        if include_wells is not None:
            filters["include_wells"] = self._fovs.rows(
                self._fovs.in_wells(_known(include_wells, self.experiments, "include_wells"))
            )
        if exclude_fovs is not None:
            filters["exclude_fovs"] = self._fovs.rows(
                ~self._fovs.listed(_known(exclude_fovs, self.experiments, "exclude_fovs"))
            )
        if query is not None:
            filters["query"] = self._query(query)
        if has_positive is not None:
            filters["has_positive"] = np.asarray(has_positive)
            if filters["has_positive"].dtype != bool or len(has_positive) != len(self):
                raise ValueError(f"`has_positive` must hold {len(self)} booleans, one a row")
        keep, left_out = np.ones(len(self), bool), {}
        for name, passes in filters.items():
            left_out[name] = int(np.count_nonzero(keep & ~passes))
            keep &= passes
        rows = np.flatnonzero(keep)
        shift_y = shift_x = np.zeros(len(rows), np.int32)
        if patch_size is not None:
            shift_y, shift_x = self._shifts(rows, patch_size, image_shapes)
            limit = np.inf if max_border_shift is None else max_border_shift
            near = (np.abs(shift_y) <= limit) & (np.abs(shift_x) <= limit)
            left_out["border"] = int(np.count_nonzero(~near))
            rows, shift_y, shift_x = rows[near], shift_y[near], shift_x[near]
        return Anchors(self, rows, shift_y, shift_x, left_out)

    def _query(self, query: str) -> NDArray[np.bool_]:
        try:
            # Empty name spaces: an expression sees the columns and nothing of this process.
            passes = np.asarray(self.tracks.eval(query, local_dict={}, global_dict={}))
        except Exception as error:
            raise UserError(
                f"index: query {query!r} cannot be evaluated ({error}). "
                f"Columns: {', '.join(self.columns)}"
            ) from None
        if passes.dtype != bool or passes.shape != (len(self),):
            raise UserError(f"index: query {query!r} is no condition on rows. Compare columns.")
        return passes

    def _shifts(
        self,
        rows: NDArray[np.int64],
        patch_size: tuple[int, int] | FovExtents,
        shapes: FovExtents | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        fovs = self._fovs
        fov = fovs.rows(np.arange(len(fovs.start), dtype=np.int32))[rows]
        used = np.flatnonzero(np.bincount(fov, minlength=len(fovs.start)))
        image, patch = np.zeros((2, len(fovs.start), 2), np.int32)
        image[used] = fovs.extents(
            used, self.image_shapes if shapes is None else shapes, "image_shapes"
        )
        by_fov = isinstance(patch_size, Mapping)
        patch[used] = fovs.extents(used, patch_size, "patch_size") if by_fov else patch_size
        none = used[np.any(patch[used] < 1, axis=1)]
        if none.size:
            raise UserError(
                f"{fovs.title(none[0])}: patch_size is {patch[none[0]].tolist()}. Give a height "
                "and a width of 1 pixel or more."
            )
        small = used[np.any(image[used] < patch[used], axis=1)]
        if small.size:
            first = small[0]
            raise UserError(
                f"{fovs.title(first)}: the image of {image[first, 0]} x {image[first, 1]} pixels "
                f"is smaller than the patch of {patch[first, 0]} x {patch[first, 1]}. Use a "
                "smaller patch, or leave it out."
            )
        y, x = self.column("y")[rows], self.column("x")[rows]
        return (
            border_shift(y, patch[fov, 0], image[fov, 0]),
            border_shift(x, patch[fov, 1], image[fov, 1]),
        )

    @cached_property
    def image_shapes(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Height and width in pixels of each (experiment, fov), from the plates' metadata."""
        return {
            (name, fov): position.shape[-2:]
            for name in self.experiments
            for fov, position in Plate(self._entry(name).data_path).positions.items()
        }

    def summary(self) -> pd.DataFrame:
        """Count what each experiment holds.

        Returns
        -------
        pandas.DataFrame
            One row an experiment.
        """
        codes, names = self.codes("experiment")
        bounds = np.searchsorted(codes, np.arange(len(names) + 1))
        return pd.DataFrame(
            [
                {"experiment": name, **self._facts(slice(start, stop))}
                for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True)
            ]
        ).set_index("experiment")

    def _facts(self, rows: slice) -> dict[str, Any]:
        number = {name: self.column(name)[rows] for name in ("branch", "lineage_id", "t", "hours")}
        text = {}
        for name in ("well", "fov", "condition"):
            codes, categories = self.codes(name)
            text[name] = [categories[code] for code in np.unique(codes[rows])]
        facts = {
            "rows": rows.stop - rows.start,
            "tracks": len(np.unique(number["branch"])),
            "lineages": len(np.unique(number["lineage_id"])),
            "fovs": len(text["fov"]),
            "wells": len(text["well"]),
            "frames": len(np.unique(number["t"])),
            "first_hour": number["hours"].min(),
            "last_hour": number["hours"].max(),
            "conditions": ", ".join(text["condition"]),
        }
        if SPLIT in self.columns:
            codes, sides = self.codes(SPLIT)
            counts = np.bincount(codes[rows], minlength=len(sides))
            facts |= {side: int(count) for side, count in zip(sides, counts, strict=True)}
        return facts


def _known(
    given: Mapping[str, Sequence[str]], experiments: list[str], key: str
) -> Mapping[str, Sequence[str]]:
    problems = Problems()
    if not isinstance(given, Mapping):
        raise UserError(f"{key}: {given!r} is no mapping. Give a list of names by experiment.")
    for name, listed in given.items():
        if name not in experiments:
            fix = did_you_mean(str(name), experiments)
            problems.add(key, f"no experiment {name!r} in the index", fix)
        # One text would be read letter by letter.
        elif isinstance(listed, str) or not isinstance(listed, Iterable):
            where = f"{key}: experiment {name}"
            problems.add(where, f"{listed!r} is no list", "Give a list of names")
    problems.raise_if_any()
    return given


def _check_border(
    patch_size: tuple[int, int] | FovExtents | None, max_border_shift: int | None
) -> None:
    problems = Problems()
    if max_border_shift is not None and patch_size is None:
        problems.add("max_border_shift", "there is no patch_size to move", "Give both, or neither")
    if max_border_shift is not None and max_border_shift < 0:
        problems.add("max_border_shift", f"it is {max_border_shift} pixels", "Give 0 or more")
    if not isinstance(patch_size, Mapping | None) and np.shape(patch_size) != (2,):
        problems.add("patch_size", f"{patch_size!r} is no pair", "Give a height and a width")
    problems.raise_if_any()


def _experiment_of(path: Path) -> str:
    try:
        (name,) = pq.read_table(path, columns=["experiment"])["experiment"].unique().to_pylist()
    except (pa.ArrowInvalid, ValueError) as error:
        raise UserError(
            f"{path}: no index of one experiment ({error}). Run the index stage again."
        ) from None
    return name
