"""The figure of a collection: experiment x condition x hour, and its split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.figures.style import CATEGORICAL, SEQUENTIAL, figure_style, save_figure
from dynaclr.figures.tables import made

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_composition(batch: pa.RecordBatch, path: str | Path) -> None:
    """Draw what a collection holds: experiment x condition x hour, and its split.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Merged index, with the column ``split``.
    path : str or Path
        Where to write; the suffix says the format.
    """
    with figure_style():
        save_figure(_composition_figure(batch), path)


def _composition_figure(batch: pa.RecordBatch) -> Figure:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    labels, counts, edges, sides = _composition(batch)
    figure, (heat, bars) = plt.subplots(
        1,
        2,
        figsize=(11, 1.6 + 0.24 * min(max(len(labels), 4), 80)),
        width_ratios=(3, 1),
        sharey=True,
    )
    figure.suptitle(
        f"{batch.num_rows:,} observations of {len(batch['experiment'].dictionary):,} experiments",
        x=0.01,
        ha="left",
    )
    shown = np.ma.masked_equal(counts, 0)
    mesh = heat.pcolormesh(
        edges, np.arange(len(labels) + 1) - 0.5, shown, cmap=SEQUENTIAL, norm="log", rasterized=True
    )
    ticks = LogLocator(subs=(1, 2, 5))
    figure.colorbar(
        mesh, ax=heat, label="observations per bin", pad=0.01, ticks=ticks, format="{x:,.0f}"
    ).minorticks_off()
    named = np.arange(0, len(labels), 1 + len(labels) // 80)
    heat.set_yticks(named, [labels[i] for i in named])
    heat.set(
        title=f"When (bins of {edges[1] - edges[0]:g} h)",
        xlabel="time (hours post infection)",
        ylim=(len(labels) - 0.5, -0.5),
    )
    left = np.zeros(len(labels))
    for (name, rows), shade in zip(sides.items(), CATEGORICAL, strict=False):
        bars.barh(
            np.arange(len(labels)),
            rows,
            left=left,
            color=shade,
            label=f"{name} (n = {rows.sum():,})",
        )
        left += rows
    bars.set(title="On which side of the split", xlabel="observations")
    bars.locator_params(axis="x", nbins=4)
    bars.grid(axis="y", visible=False)
    bars.tick_params(axis="y", left=False, labelleft=False)
    figure.legend(loc="outside lower right", ncols=2)
    return figure


def _composition(
    batch: pa.RecordBatch,
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Labels of the (experiment, condition) pairs; their counts by hour and by side."""
    names = {key: batch[key].dictionary.to_pylist() for key in ("experiment", "condition", "split")}
    codes = {key: batch[key].indices.to_numpy() for key in names}
    key = codes["experiment"].astype(np.int64) * len(names["condition"]) + codes["condition"]
    present = np.flatnonzero(np.bincount(key))
    place = np.zeros(present[-1] + 1, np.int64)
    place[present] = np.arange(len(present))
    row = place[key]
    experiment, condition = np.divmod(present, len(names["condition"]))
    labels = [
        f"{names['experiment'][i]} · {names['condition'][j]}"
        for i, j in zip(experiment, condition, strict=True)
    ]

    hours = batch["hours"].to_numpy()
    lowest, highest = np.floor(hours.min()), hours.max()
    width = next((w for w in (0.5, 1, 2, 4, 6, 12, 24) if (highest - lowest) / w < 60), 48)
    n_bins = int((highest - lowest) // width) + 1
    column = np.minimum(((hours - lowest) / width).astype(np.int64), n_bins - 1)
    counts = np.bincount(row * n_bins + column, minlength=len(labels) * n_bins)
    sides = {
        side: np.bincount(row[codes["split"] == number], minlength=len(labels))
        for number, side in enumerate(names["split"])
    }
    edges = lowest + width * np.arange(n_bins + 1)
    return labels, counts.reshape(len(labels), n_bins), edges, sides


def draw_collection(folder: Path) -> None:
    """Draw ``composition.svg`` from ``index.arrow``."""
    with pa.memory_map(str(made(folder / "index.arrow"))) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        draw_composition(batch, folder / "composition.svg")
