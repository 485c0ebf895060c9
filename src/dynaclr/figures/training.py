"""The figure of a training run: its history epoch by epoch."""

from __future__ import annotations

from pathlib import Path

from dynaclr.figures.style import (
    CATEGORICAL,
    figure_style,
    panel_grid,
    save_figure,
    title_figure,
)
from dynaclr.figures.tables import read_table
from dynaclr.io.artifacts import read_json

_PANELS = (
    ("loss", "loss", "Does it still learn, and does validation follow?"),
    ("alignment", "squared distance of positives", "Alignment (lower: positives are close)"),
    ("uniformity", "log mean pair potential", "Uniformity (lower: spread out)"),
    ("effective_rank", "effective rank of features", "Effective rank (near 1: collapsed)"),
)


def draw_training(folder: Path) -> None:
    """Draw ``curves.svg``: training and validation together, and the epoch whose weights are kept.

    Parameters
    ----------
    folder : Path
        ``<model>/<seed>``, with ``metrics.csv`` (one row an epoch) and ``provenance.json``.

    Raises
    ------
    UserError
        When ``metrics.csv`` is missing.
    """
    history = read_table(folder / "metrics.csv")
    best_epoch = read_json(folder / "provenance.json")["best_epoch"]
    model, seed = folder.absolute().parts[-2:]
    # Not every module measures everything.
    panels = [panel for panel in _PANELS if f"{panel[0]}/val" in history]
    with figure_style():
        figure, axes = panel_grid(len(panels), (3.1, 2.9))
        for axis, (metric, label, heading) in zip(axes[0], panels, strict=True):
            for stage, color in zip(("train", "val"), CATEGORICAL, strict=False):
                if f"{metric}/{stage}" in history:
                    values = history[f"{metric}/{stage}"]
                    axis.plot(history["epoch"] + 1, values, color=color, label=stage)
            axis.axvline(best_epoch + 1, color="0.6", lw=0.8, ls=":", label="epoch kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.set_title(heading, fontsize=8.5)
        axes[0, 0].legend()
        title_figure(figure, f"{model}, {seed}, n = {len(history)} epochs", fontsize=10)
        save_figure(figure, folder / "curves.svg")
