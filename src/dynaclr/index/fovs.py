"""Fields of view of an index as runs of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import Problems, UserError
from dynaclr.config.errors import did_you_mean

if TYPE_CHECKING:
    from dynaclr.index.multi import MultiExperimentIndex

# Height and width by (experiment, field of view).
FovExtents = Mapping[tuple[str, str], tuple[int, int]]


class FovRuns:
    """Fields of view as runs of rows, so that a filter by name costs nothing per row.

    Attributes
    ----------
    start : ndarray of int64
        First row of each run.
    experiment, well, fov : list of str
        Names of each run.
    """

    def __init__(self, index: MultiExperimentIndex) -> None:
        experiment, fov = index.codes("experiment")[0], index.codes("fov")[0]
        change = (experiment[1:] != experiment[:-1]) | (fov[1:] != fov[:-1])
        self.start = np.concatenate([[0], np.flatnonzero(change) + 1])
        self._size = np.diff(np.append(self.start, len(index)))
        self.experiment, self.well, self.fov = (
            self._names(*index.codes(name)) for name in ("experiment", "well", "fov")
        )

    def _names(self, codes: NDArray[np.int32], categories: list[str]) -> list[str]:
        return [categories[code] for code in codes[self.start]]

    def title(self, run: int) -> str:
        """Name a run for a message."""
        return f"experiment {self.experiment[run]}, field of view {self.fov[run]}"

    def rows(self, of_run: NDArray[Any]) -> NDArray[Any]:
        """Spread a value of each run over its rows."""
        return np.repeat(of_run, self._size)

    def in_wells(self, wells: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """Flag the runs in the wells named for their experiment, or whose experiment has none."""
        self._check(wells, self.well, "include_wells", "well")
        pairs = zip(self.experiment, self.well, strict=True)
        return np.array([name not in wells or well in wells[name] for name, well in pairs])

    def listed(self, fovs: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """Flag the runs that are named for their experiment."""
        self._check(fovs, self.fov, "exclude_fovs", "field of view")
        pairs = zip(self.experiment, self.fov, strict=True)
        return np.array([fov in fovs.get(name, ()) for name, fov in pairs])

    def _check(
        self, given: Mapping[str, Sequence[str]], names: list[str], key: str, what: str
    ) -> None:
        problems = Problems()
        for experiment, listed in given.items():
            pairs = zip(self.experiment, names, strict=True)
            known = sorted({name for of, name in pairs if of == experiment})
            for name in listed:
                if name not in known:
                    where = f"{key}: experiment {experiment}"
                    problems.add(where, f"no {what} {name}", did_you_mean(str(name), known))
        problems.raise_if_any()

    def extents(
        self, runs: NDArray[np.int64], given: FovExtents, what: str
    ) -> list[tuple[int, int]]:
        """Height and width for each of the runs, from the argument that is called `what`."""
        keys = [(self.experiment[run], self.fov[run]) for run in runs]
        missing = [
            f"{experiment} {fov}" for experiment, fov in keys if (experiment, fov) not in given
        ]
        if missing:
            raise UserError(
                f"{what}: nothing for {', '.join(missing[:5])}. "
                "Give a height and width for each field of view."
            )
        return [given[key] for key in keys]
