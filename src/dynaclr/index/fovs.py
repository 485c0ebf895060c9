"""Fields of view of an index as runs of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.index.table import IndexTable

# Height and width by (experiment, field of view).
FovExtents = Mapping[tuple[str, str], tuple[int, int]]
_WORDS = {"well": "well", "fov": "field of view"}


class FovRuns:
    """Fields of view as runs of rows, so that a filter by name costs nothing per row.

    Parameters
    ----------
    table : IndexTable

    Attributes
    ----------
    start : ndarray of int64, shape (n_runs,)
        First row of each run.
    experiment, well, fov : list of str
        Names of each run.
    """

    def __init__(self, table: IndexTable) -> None:
        experiment, fov = table.codes("experiment")[0], table.codes("fov")[0]
        change = (experiment[1:] != experiment[:-1]) | (fov[1:] != fov[:-1])
        self.start = np.concatenate([[0], np.flatnonzero(change) + 1])
        self._size = np.diff(np.append(self.start, len(table)))
        self.experiment, self.well, self.fov = (
            self._names(*table.codes(name)) for name in ("experiment", "well", "fov")
        )

    def __len__(self) -> int:
        return len(self.start)

    def _names(self, codes: NDArray[np.int32], categories: list[str]) -> list[str]:
        return [categories[code] for code in codes[self.start]]

    def title(self, run: int) -> str:
        """Name a run for a message."""
        return f"experiment {self.experiment[run]}, field of view {self.fov[run]}"

    def rows(self, of_run: NDArray[Any]) -> NDArray[Any]:
        """Spread a value of each run over its rows."""
        return np.repeat(of_run, self._size)

    @property
    def of_row(self) -> NDArray[np.int32]:
        """Number of each row's run, shape (N,)."""
        return self.rows(np.arange(len(self), dtype=np.int32))

    def listed(
        self, kind: Literal["well", "fov"], given: Mapping[str, Sequence[str]], key: str
    ) -> NDArray[np.bool_]:
        """Flag the runs whose well or field of view is named for their experiment.

        Parameters
        ----------
        kind : {"well", "fov"}
            What is named.
        given : mapping of str to sequence of str
            Experiment to names.
        key : str
            The argument that they are of, for messages.

        Returns
        -------
        ndarray of bool, shape (n_runs,)

        Raises
        ------
        UserError
            When a name is unknown, or names are not given as lists by experiment.
        """
        if not isinstance(given, Mapping):
            raise UserError(f"{key}: {given!r} is no mapping. Give a list of names by experiment.")
        names = list(zip(self.experiment, getattr(self, kind), strict=True))
        problems = Problems()
        for experiment, chosen in given.items():
            where = f"{key}: experiment {experiment}"
            known = sorted({name for of, name in names if of == experiment})
            if not known:
                fix = did_you_mean(str(experiment), sorted(set(self.experiment)))
                problems.add(key, f"no experiment {experiment!r} in the index", fix)
            # One text would be read letter by letter.
            elif isinstance(chosen, str) or not isinstance(chosen, Iterable):
                problems.add(where, f"{chosen!r} is no list", "Give a list of names")
            else:
                for name in [name for name in chosen if name not in known]:
                    fix = did_you_mean(str(name), known)
                    problems.add(where, f"no {_WORDS[kind]} {name}", fix)
        problems.raise_if_any()
        return np.array([name in given.get(experiment, ()) for experiment, name in names])

    def extents(
        self, runs: NDArray[np.int64], given: FovExtents, key: str
    ) -> list[tuple[int, int]]:
        """Return height and width of each of some runs.

        Parameters
        ----------
        runs : ndarray of int64, shape (n,)
        given : mapping of (str, str) to (int, int)
            Height and width by (experiment, field of view).
        key : str
            The argument that they are of, for messages.

        Raises
        ------
        UserError
            When a field of view is not in `given`.
        """
        keys = [(self.experiment[run], self.fov[run]) for run in runs]
        missing = [" ".join(key) for key in keys if key not in given]
        if missing:
            raise UserError(
                f"{key}: nothing for {', '.join(missing[:5])}. "
                "Give a height and width for each field of view."
            )
        return [given[key] for key in keys]
