"""Callback that draws the validation embedding during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from dynaclr.config import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dynaclr.training.base import TrainedModule

_TAG = "embedding/val"


class EmbeddingFigure(Callback):
    """Draws validation features in their first two principal components, for the loggers.

    Goes to every logger that takes figures or images, TensorBoard and Weights & Biases among them;
    with none of these nothing is computed. With several processes it shows the rows of the first.
    It is no product of the workflow, whose figures `dynaclr.figures` draws from finished tables.

    Parameters
    ----------
    columns : sequence of str
        Columns of the index; one panel each, coloured by it.
    every_n_epochs : int
        Draw after every n-th epoch.
    max_cells : int
        Most validation anchors to draw, the first ones; they pass the encoder once more.

    Raises
    ------
    ValueError
        When a number is not positive, or there is no column.
    """

    def __init__(
        self,
        columns: Sequence[str] = ("condition", "experiment", "hours"),
        every_n_epochs: int = 5,
        max_cells: int = 2000,
    ) -> None:
        if min(every_n_epochs, max_cells, len(columns)) < 1:
            raise ValueError(
                f"EmbeddingFigure: columns {list(columns)}, every_n_epochs {every_n_epochs} and "
                f"max_cells {max_cells}; give at least one column and positive numbers"
            )
        self.columns = tuple(columns)
        self.every_n_epochs = every_n_epochs
        self.max_cells = max_cells
        self._reset()

    def _reset(self) -> None:
        self._features: list[torch.Tensor] = []
        self._rows: list[torch.Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse columns that the index does not have."""
        index_with = getattr(getattr(trainer, "datamodule", None), "index_with", None)
        if index_with is None:
            raise UserError("EmbeddingFigure: needs MultiExperimentDataModule for its columns.")
        index = index_with(self.columns)
        for name in self.columns:
            index.is_text(name)
        self._index = index

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Empty the buffers."""
        self._reset()

    def _is_due(self, trainer: Trainer) -> bool:
        return (
            not trainer.sanity_checking
            and trainer.is_global_zero
            and (trainer.current_epoch + 1) % self.every_n_epochs == 0
            and any(_takes_figures(logger) for logger in trainer.loggers)
        )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep features and row numbers of the anchors."""
        n_left = self.max_cells - sum(map(len, self._rows))
        if n_left <= 0 or not self._is_due(trainer):
            return
        features, _ = cast("TrainedModule", pl_module).encoder(batch["anchor"]["patch"][:n_left])
        self._features.append(features.float().cpu())
        self._rows.append(batch["anchor"]["row"][:n_left].cpu())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the figure and log it."""
        if not self._rows:
            return
        rows = torch.cat(self._rows).numpy()
        values = {name: _column(self._index, name, rows) for name in self.columns}
        coordinates, shares = principal_components(torch.cat(self._features).numpy())
        epoch = trainer.current_epoch + 1
        figure = _draw(coordinates, shares, values, f"epoch {epoch}, n = {len(rows)}")
        for logger in trainer.loggers:
            _log_figure(logger, figure, trainer.global_step)
        self._reset()


def principal_components(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First two principal components and the shares of variance that they explain.

    Parameters
    ----------
    features : NDArray, shape (N, D)

    Returns
    -------
    coordinates : NDArray, shape (N, 2)
        The sign of each is such that its largest loading is positive: figures of consecutive
        epochs are not mirrored at random. 0 where there is no second component.
    shares : NDArray, shape (2,)
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, singular, loadings = np.linalg.svd(centred, full_matrices=False)
    strongest = np.abs(loadings).argmax(axis=1)
    signs = np.where(loadings[np.arange(len(loadings)), strongest] < 0, -1.0, 1.0)
    coordinates, shares = np.zeros((len(features), 2)), np.zeros(2)
    n = min(2, len(singular))
    coordinates[:, :n] = (left * singular * signs)[:, :n]
    shares[:n] = singular[:n] ** 2 / max(float((singular**2).sum()), np.finfo(np.float64).tiny)
    return coordinates, shares


def _draw(
    coordinates: NDArray[np.float64],
    shares: NDArray[np.float64],
    columns: Mapping[str, NDArray[Any]],
    title: str,
) -> Figure:
    """Draw cells in two principal components, one panel a column: text by a legend."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = {"s": 6, "alpha": 0.7, "linewidths": 0}
    with style.context("tableau-colorblind10"):
        # On a canvas of its own, unknown to pyplot, which would have to close it.
        figure = Figure(figsize=(3.4 * len(columns), 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True)[0]
        for axis, (name, values) in zip(axes, columns.items(), strict=True):
            if values.dtype == object:
                for value in sorted(set(values)):
                    axis.scatter(*coordinates[values == value].T, label=value, **points)
                axis.legend(markerscale=2, fontsize=8)
            else:
                figure.colorbar(axis.scatter(*coordinates.T, c=values, **points), ax=axis)
            axis.set(title=name, xlabel=f"PC 1 ({shares[0]:.0%} of variance)")
        axes[0].set_ylabel(f"PC 2 ({shares[1]:.0%} of variance)")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _column(index: Any, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    if not index.is_text(name):
        return index.column(name)[rows]
    codes, categories = index.codes(name)
    return np.array(categories, dtype=object)[codes[rows]]


def _takes_figures(logger: Logger) -> bool:
    return hasattr(logger, "log_image") or hasattr(_experiment(logger), "add_figure")


def _experiment(logger: Logger) -> Any:
    """What a logger writes to, where it has such an object."""
    return getattr(logger, "experiment", None)


def _log_figure(logger: Logger, figure: Any, step: int) -> None:
    if hasattr(logger, "log_image"):
        figure.canvas.draw()
        logger.log_image(_TAG, [np.asarray(figure.canvas.buffer_rgba())[..., :3]], step=step)
    elif hasattr(_experiment(logger), "add_figure"):
        _experiment(logger).add_figure(_TAG, figure, step, close=False)
