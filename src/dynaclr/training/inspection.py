"""What the batches of a training configuration hold, before anything is trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.data import MultiExperimentDataModule
from dynaclr.data.dataset import MultiExperimentTripletDataset
from dynaclr.experiments.files import atomic_path
from dynaclr.experiments.training_config import with_checkpoints
from dynaclr.index import MultiExperimentIndex
from dynaclr.sampling import FlexibleBatchSampler
from dynaclr.training.cli import build, with_data
from dynaclr.training.inspection_figures import save_audit_figure, save_pairs_figure

log = logging.getLogger(__name__)

MAX_STEPS = 1000
N_PAIRS = 12


@dataclass(frozen=True)
class Audit:
    """Batches of one epoch, observation by observation and step by step.

    Attributes
    ----------
    draws : pandas.DataFrame
        One line an anchor drawn: ``step``, ``row`` (of the index), ``part``, ``experiment``,
        ``condition``, ``hours``, ``focal_hour`` (NaN without temporal enrichment) and
        ``offset_hours`` to its positive.
    steps : pandas.DataFrame
        One line a step: ``step``, ``group``, ``focal_hour``, ``rows``, ``distinct_rows``,
        ``lineages``, ``same_lineage_negatives`` (share of the negatives), ``widened`` and
        ``outside_window`` of the sampler, and ``<part>``, ``experiment=<name>`` and
        ``condition=<name>`` counts.
    available : pandas.DataFrame
        One line a valid anchor: ``row``, ``experiment``, ``condition``.
    epoch_steps : int
        Steps of a whole epoch; `steps` may hold only the first of them.
    """

    draws: pd.DataFrame
    steps: pd.DataFrame
    available: pd.DataFrame
    epoch_steps: int


def inspect_batches(
    training: dict[str, Any],
    collection: Path,
    experiments: Path,
    seed: int,
    out_dir: Path,
    epoch: int = 0,
    max_steps: int = MAX_STEPS,
) -> Audit:
    """Write what the training batches of an epoch hold, as a table and two figures.

    Parameters
    ----------
    training : dict
        Training configuration, as for `dynaclr.training.train`.
    collection, experiments : Path
        Folder of the merged collection, and of the per-experiment results.
    seed : int
        Seed of the training.
    out_dir : Path
        Gets ``batches.csv`` (`Audit.steps`), ``batches.png`` and ``batch_pairs.png``.
    epoch : int
        Which epoch.
    max_steps : int
        Longer epochs are audited up to this step.

    Returns
    -------
    Audit

    Raises
    ------
    UserError
        When the configuration or the data do not fit.
    """
    content = with_data(training, str(collection), str(experiments), seed)
    # What the model starts from does not matter here, and may not be there yet.
    datamodule = build(with_checkpoints(content, {}), "training configuration").datamodule
    datamodule.setup()
    loader = datamodule.train_dataloader()
    audit = audit_batches(loader.batches, loader.dataset, datamodule.index, epoch, max_steps)
    out_dir = Path(out_dir)
    with atomic_path(out_dir / "batches.csv") as temporary:
        audit.steps.to_csv(temporary, index=False, float_format="%.6g")
    save_audit_figure(
        audit.draws, audit.steps, audit.available, audit.epoch_steps, out_dir / "batches.png"
    )
    shown, patches = example_pairs(datamodule, loader.dataset, audit.draws, epoch)
    save_pairs_figure(shown, patches, datamodule.patches.markers, out_dir / "batch_pairs.png")
    log.info("%d of %d steps of epoch %d audited", len(audit.steps), audit.epoch_steps, epoch)
    return audit


def audit_batches(
    sampler: FlexibleBatchSampler,
    dataset: MultiExperimentTripletDataset,
    index: MultiExperimentIndex,
    epoch: int = 0,
    max_steps: int = MAX_STEPS,
) -> Audit:
    """Compose an epoch's batches, with their positives, and count what they hold."""
    experiment, experiments = index.codes("experiment")
    condition, conditions = index.codes("condition")
    hours, lineage = index.column("hours"), index.column("lineage_id")
    used = {
        column: [names[code] for code in np.unique(codes[dataset.anchors])]
        for column, codes, names in (
            ("experiment", experiment, experiments),
            ("condition", condition, conditions),
        )
    }
    lines, steps = [], []
    for step in range(min(len(sampler), max_steps)):
        batch = sampler.describe(epoch, step)
        rows = dataset.anchors[batch.rows]
        partners = dataset.positives(rows, epoch)
        focal = np.nan if batch.focal_hour is None else batch.focal_hour
        drawn = pd.DataFrame(
            {
                "step": step,
                "row": rows,
                "part": batch.part,
                "experiment": np.asarray(experiments, dtype=object)[experiment[rows]],
                "condition": np.asarray(conditions, dtype=object)[condition[rows]],
                "hours": hours[rows],
                "focal_hour": focal,
                "offset_hours": hours[partners] - hours[rows],
            }
        )
        lines.append(drawn)
        counts = {str(part): n for part, n in drawn["part"].value_counts(sort=False).items()}
        for column, names in used.items():
            counts |= {f"{column}={name}": (drawn[column] == name).sum() for name in names}
        steps.append(
            {
                "step": step,
                "group": batch.group,
                "focal_hour": focal,
                "rows": len(rows),
                "distinct_rows": np.unique(rows).size,
                "lineages": np.unique(lineage[rows]).size,
                "same_lineage_negatives": same_lineage_share(lineage[rows]),
                "widened": batch.widened,
                "outside_window": batch.outside_window,
            }
            | counts
        )
    available = pd.DataFrame(
        {
            "row": dataset.anchors,
            "experiment": np.asarray(experiments, dtype=object)[experiment[dataset.anchors]],
            "condition": np.asarray(conditions, dtype=object)[condition[dataset.anchors]],
        }
    )
    # A part that a step lacks has none of its rows.
    table = pd.DataFrame(steps)
    parts = sorted({part for drawn in lines for part in drawn["part"]})
    table[parts] = table[parts].fillna(0).astype(int)
    return Audit(pd.concat(lines, ignore_index=True), table, available, len(sampler))


def same_lineage_share(lineage: NDArray) -> float:
    """Share of the negatives that are of the anchor's own lineage.

    Every anchor comes with a positive of its lineage, and the ``2B`` views of a batch are each
    other's negatives but for the two of a pair.

    Parameters
    ----------
    lineage : NDArray, shape (B,)
        Lineage of each anchor.
    """
    views = 2 * np.unique(lineage, return_counts=True)[1]
    total = views.sum() * (views.sum() - 2)
    return float((views * (views - 2)).sum() / total) if total else 0.0


def example_pairs(
    datamodule: MultiExperimentDataModule,
    dataset: MultiExperimentTripletDataset,
    draws: pd.DataFrame,
    epoch: int,
) -> tuple[pd.DataFrame, dict[str, NDArray]]:
    """Read a few pairs from steps spread over the epoch, plain and as training sees them.

    Returns
    -------
    draws : pandas.DataFrame
        The N lines of `draws` that are shown.
    patches : dict of str to NDArray
        ``anchor``, ``positive``, ``augmented anchor`` and ``augmented positive``:
        (N, C, Y, X) normalized intensities of the middle plane; NaN where a marker is absent.
    """
    chosen = np.linspace(0, len(draws) - 1, min(N_PAIRS, len(draws))).astype(int)
    shown = draws.iloc[chosen].reset_index(drop=True)
    positions = np.searchsorted(dataset.anchors, shown["row"].to_numpy())
    batch = dataset.__getitems__((epoch * len(dataset) + positions).tolist())
    batch = datamodule.on_after_batch_transfer(batch, 0)
    patches = {}
    for number, view in enumerate(("anchor", "positive")):
        x_BCZYX, imaged_BC = batch[view]["patch"], batch[view]["present"].numpy()
        augmented = datamodule.augment(x_BCZYX, number)
        for name, views in ((view, x_BCZYX), (f"augmented {view}", augmented)):
            middle_BCYX = _middle(views, datamodule.patches.size)
            patches[name] = np.where(imaged_BC[..., None, None], middle_BCYX, np.nan)
    return shown, patches


def _middle(x_BCZYX: Tensor, size: tuple[int, int]) -> NDArray:
    """Middle plane, without the margin that augmentation needs."""
    *_, depth, height, width = x_BCZYX.shape
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    cut = x_BCZYX[:, :, depth // 2, top : top + size[0], left : left + size[1]]
    return cut.numpy()
