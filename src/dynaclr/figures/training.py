"""The figure of a training run: its history epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.figures.style import CATEGORICAL, figure_style, save_figure
from dynaclr.figures.tables import made
from dynaclr.io.artifacts import read_json

_PANELS = (
    ("loss", "loss", "Does it still learn, and does validation follow?"),
    ("alignment", "squared distance of positives", "Alignment (lower: positives are close)"),
    ("uniformity", "log mean pair potential", "Uniformity (lower: spread out)"),
    ("effective_rank", "effective rank of features", "Effective rank (near 1: collapsed)"),
)


def draw_curves(history: pd.DataFrame, best_epoch: int, title: str, path: str | Path) -> None:
    """Draw the metrics history, training and validation together, and mark the epoch kept.

    Parameters
    ----------
    history : pandas.DataFrame
        One row an epoch.
    best_epoch : int
        Epoch whose weights were kept, from 0.
    title : str
    path : str or Path
        Where to write; the suffix says the format.
    """
    import matplotlib.pyplot as plt

    with figure_style():
        figure, axes = plt.subplots(1, len(_PANELS), figsize=(3.1 * len(_PANELS), 2.9))
        for axis, (metric, label, heading) in zip(axes, _PANELS, strict=True):
            for stage, color in zip(("train", "val"), CATEGORICAL, strict=False):
                if f"{metric}/{stage}" in history:
                    axis.plot(
                        history["epoch"] + 1, history[f"{metric}/{stage}"], color=color, label=stage
                    )
            axis.axvline(best_epoch + 1, color="0.6", lw=0.8, ls=":", label="epoch kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.set_title(heading, fontsize=8.5)
        axes[0].legend()
        figure.suptitle(f"{title}, n = {len(history)} epochs", x=0.01, ha="left", fontsize=10)
        save_figure(figure, path)


def draw_training(folder: Path) -> None:
    """Draw ``curves.svg`` from ``metrics.csv`` and ``provenance.json``."""
    history = pd.read_csv(made(folder / "metrics.csv"))
    best_epoch = read_json(folder / "provenance.json")["best_epoch"]
    model, seed = folder.absolute().parts[-2:]
    draw_curves(history, best_epoch, f"{model}, {seed}", folder / "curves.svg")
