"""An index's rows as columns, without copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.config import UserError
from dynaclr.config.columns import SPLIT
from dynaclr.config.errors import did_you_mean


class IndexTable:
    """Columns of an index by name: numbers as arrays, text as codes and categories.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Columns without nulls, text dictionary-encoded; see `dynaclr.index.columns`.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @property
    def table(self) -> pa.Table:
        """All columns as an Arrow table, without a copy."""
        return pa.Table.from_batches([self._batch])

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._batch.schema.names)

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments, sorted."""
        return self.codes("experiment")[1]

    def is_text(self, name: str) -> bool:
        """Whether a column is text, read with `codes`; else it is read with `column`."""
        return bool(pa.types.is_dictionary(self._array(name).type))

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of numbers, without a copy.

        Parameters
        ----------
        name : str

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
        values: NDArray[Any] = self._array(name).to_numpy()
        return values

    def codes(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Read a text column as codes and sorted categories, without a copy.

        Parameters
        ----------
        name : str

        Returns
        -------
        codes : ndarray of int32, shape (N,)
            Read-only; indices into `categories`.
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

    def frame(
        self, columns: Sequence[str], rows: NDArray[np.integer] | None = None
    ) -> pd.DataFrame:
        """Copy columns of some rows, as a sampler takes them.

        Parameters
        ----------
        columns : sequence of str
        rows : ndarray of int, shape (n,), optional
            Row numbers; default: all.

        Returns
        -------
        pandas.DataFrame
            n rows, numbered from 0; text as categoricals.
        """
        chosen: NDArray[np.integer] | slice = slice(None) if rows is None else rows
        found: dict[str, Any] = {}
        for name in columns:
            if self.is_text(name):
                codes, categories = self.codes(name)
                found[name] = pd.Categorical.from_codes(codes[chosen], categories)
            else:
                found[name] = self.column(name)[chosen]
        return pd.DataFrame(found)

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """All observations; numbers are not copied, text is categorical."""
        return self._batch.to_pandas(split_blocks=True)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Flag the rows of one side of the split, shape (N,).

        Parameters
        ----------
        split : {"train", "validation"}

        Raises
        ------
        UserError
            When the index has no split or no such side.
        """
        if SPLIT not in self.columns:
            raise UserError("index: it has no split. Open a merged index with `from_merged`.")
        codes, sides = self.codes(SPLIT)
        if split not in sides:
            raise UserError(f"index: no side {split!r} of the split. {did_you_mean(split, sides)}")
        flags: NDArray[np.bool_] = codes == sides.index(split)
        return flags
