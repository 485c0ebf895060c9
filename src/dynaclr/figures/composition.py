"""The figure of a collection: experiment x condition x hour, and its split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.figures.style import (
    CATEGORICAL,
    SEQUENTIAL,
    figure_style,
    save_figure,
    title_figure,
)
from dynaclr.io.artifacts import reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_collection(folder: Path) -> None:
    """Draw ``composition.svg`` from ``index.arrow``.

    Parameters
    ----------
    folder : Path
        Of the collection.

    Raises
    ------
    UserError
        When the index is missing.
    """
    path = folder / "index.arrow"
    with reading(path):
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    draw_composition(batch, folder / "composition.svg")


def draw_composition(batch: pa.RecordBatch, path: str | Path) -> None:
    """Draw what a collection holds: experiment x condition x hour, and its split.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Merged index, with the column ``split``.
    path : str or Path
        Where to write; the suffix says the format.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    counts = _count(batch)
    n_pairs = len(counts.pairs)
    with figure_style():
        height = 1.6 + 0.24 * min(max(n_pairs, 4), 80)
        figure, (heat, bars) = plt.subplots(
            1, 2, figsize=(11, height), width_ratios=(3, 1), sharey=True
        )
        n_experiments = len(batch["experiment"].dictionary)
        title_figure(figure, f"{batch.num_rows:,} observations of {n_experiments:,} experiments")
        mesh = heat.pcolormesh(
            counts.edges,
            np.arange(n_pairs + 1) - 0.5,
            np.ma.masked_equal(counts.by_hour, 0),
            cmap=SEQUENTIAL,
            norm="log",
            rasterized=True,
        )
        ticks = LogLocator(subs=(1, 2, 5))
        figure.colorbar(
            mesh, ax=heat, label="observations per bin", pad=0.01, ticks=ticks, format="{x:,.0f}"
        ).minorticks_off()
        named = np.arange(0, n_pairs, 1 + n_pairs // 80)
        heat.set_yticks(named, [counts.pairs[i] for i in named])
        heat.set(
            title=f"When (bins of {counts.edges[1] - counts.edges[0]:g} h)",
            xlabel="time (hours post infection)",
            ylim=(n_pairs - 0.5, -0.5),
        )
        _draw_split(bars, counts.by_split)
        figure.legend(loc="outside lower right", ncols=2)
        save_figure(figure, path)


def _draw_split(axis: Axes, by_split: dict[str, NDArray[np.int64]]) -> None:
    """Stack a bar a pair: how many observations are on each side of the split."""
    left = np.zeros_like(next(iter(by_split.values())))
    for (name, rows), color in zip(by_split.items(), CATEGORICAL, strict=False):
        label = f"{name} (n = {rows.sum():,})"
        axis.barh(np.arange(len(rows)), rows, left=left, color=color, label=label)
        left = left + rows
    axis.set(title="On which side of the split", xlabel="observations")
    axis.locator_params(axis="x", nbins=4)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", left=False, labelleft=False)


class _Counts(NamedTuple):
    """Observations of each pair of experiment and condition.

    `by_hour` has shape (pairs, bins), `edges` are the hours between bins, `by_split` has for each
    side of the split an array of shape (pairs,).
    """

    pairs: list[str]
    by_hour: NDArray[np.int64]
    edges: NDArray[np.float64]
    by_split: dict[str, NDArray[np.int64]]


def _count(batch: pa.RecordBatch) -> _Counts:
    names = {key: batch[key].dictionary.to_pylist() for key in ("experiment", "condition", "split")}
    codes = {key: batch[key].indices.to_numpy() for key in names}
    code = codes["experiment"].astype(np.int64) * len(names["condition"]) + codes["condition"]
    present = np.flatnonzero(np.bincount(code))
    pairs = [
        f"{names['experiment'][i]} · {names['condition'][j]}"
        for i, j in zip(*np.divmod(present, len(names["condition"])), strict=True)
    ]
    row_of_code = np.zeros(present[-1] + 1, np.int64)
    row_of_code[present] = np.arange(len(present))
    row = row_of_code[code]

    hours = batch["hours"].to_numpy()
    lowest, highest = np.floor(hours.min()), hours.max()
    width = next((w for w in (0.5, 1, 2, 4, 6, 12, 24) if (highest - lowest) / w < 60), 48)
    n_bins = int((highest - lowest) // width) + 1
    column = np.minimum(((hours - lowest) / width).astype(np.int64), n_bins - 1)
    by_hour = np.bincount(row * n_bins + column, minlength=len(pairs) * n_bins)
    by_split = {
        side: np.bincount(row[codes["split"] == number], minlength=len(pairs))
        for number, side in enumerate(names["split"])
    }
    edges = lowest + width * np.arange(n_bins + 1)
    return _Counts(pairs, by_hour.reshape(len(pairs), n_bins), edges, by_split)
