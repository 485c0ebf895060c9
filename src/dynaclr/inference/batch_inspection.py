"""Inspection of the batches of a training configuration, before anything is trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.config import UserError
from dynaclr.config.training import with_checkpoints
from dynaclr.data import MultiExperimentDataModule
from dynaclr.data.loading.dataset import MultiExperimentTripletDataset
from dynaclr.index import MultiExperimentIndex
from dynaclr.io.artifacts import atomic_path
from dynaclr.sampling import FlexibleBatchSampler
from dynaclr.training.builder import ON_ANY_MACHINE, build, with_data
from dynaclr.training.launch import count_processes

log = logging.getLogger(__name__)

MAX_STEPS = 1000
N_PAIRS = 12


@dataclass(frozen=True)
class Audit:
    """Batches of one epoch, observation by observation and step by step.

    Attributes
    ----------
    draws : pandas.DataFrame
        One line an anchor drawn: ``step``, ``position`` (of the dataset), ``row`` (of the index),
        ``experiment``, ``condition`` and, of a bag of channels, ``marker``; ``part``, ``hours``,
        ``focal_hour`` (NaN without temporal enrichment) and ``offset_hours`` to its positive.
    steps : pandas.DataFrame
        One line a step: ``step``, ``group``, ``focal_hour``, ``rows``, ``distinct_rows`` (of the
        sampler: anchors, which are pairs of row and marker in a bag of channels), ``lineages``,
        ``same_lineage_negatives`` (share of the negatives), ``widened`` and ``outside_window`` of
        the sampler, and ``<part>``, ``experiment=<name>``, ``condition=<name>`` and, of a bag of
        channels, ``marker=<name>`` counts.
    available : pandas.DataFrame
        One line a valid anchor, by its position: ``position``, ``row``, ``experiment``,
        ``condition`` and, of a bag of channels, ``marker``.
    epoch_steps : int
        Steps of a whole epoch; `steps` may hold only the first of them.
    """

    draws: pd.DataFrame
    steps: pd.DataFrame
    available: pd.DataFrame
    epoch_steps: int


class Pairs(NamedTuple):
    """A few pairs of an epoch, plain and as training sees them.

    Attributes
    ----------
    shown : pandas.DataFrame
        N lines of `Audit.draws`.
    patches : dict of str to NDArray
        ``anchor``, ``positive``, ``augmented anchor`` and ``augmented positive``:
        (N, C, Y, X) normalized intensities of the middle plane; NaN where a marker is absent. Of a
        bag of channels ``C`` is 1.
    markers : tuple of str
        Names of the C channels; none of a bag of channels, where each pair has its own.
    """

    shown: pd.DataFrame
    patches: dict[str, NDArray]
    markers: tuple[str, ...]


def inspect_batches(
    training: dict[str, Any],
    collection: Path,
    experiments: Path,
    seed: int,
    out_dir: Path,
    epoch: int = 0,
    max_steps: int = MAX_STEPS,
) -> tuple[Audit, Pairs]:
    """Find what the training batches of an epoch hold, and write the table of its steps.

    A batch is what all processes that the trainer asks for see in a step, and an epoch has as many
    steps as the trainer lets through (``limit_train_batches``).

    Parameters
    ----------
    training : dict
        Training configuration, as for `dynaclr.training.train`.
    collection, experiments : Path
        Folder of the merged collection, and of the per-experiment results.
    seed : int
        Seed of the training.
    out_dir : Path
        Gets ``batches.csv`` (`Audit.steps`).
    epoch : int
        Which epoch.
    max_steps : int
        Longer epochs are audited up to this step.

    Returns
    -------
    Audit
    Pairs

    Raises
    ------
    UserError
        When the configuration or the data do not fit, there is no such epoch, or no step.
    """
    if epoch < 0 or max_steps < 1:
        raise UserError(
            f"inspect-batches: epoch is {epoch} and max_steps {max_steps}. Epochs count from 0, "
            "and max_steps from 1."
        )
    content = with_data(training, str(collection), str(experiments), seed)
    n_processes = _count_replicas(content.get("trainer") or {})
    # The machine that inspects batches is seldom the one that trains. What the model starts from
    # does not matter here, and may not be there yet.
    content["trainer"] = (content.get("trainer") or {}) | ON_ANY_MACHINE
    built = build(with_checkpoints(content, {}), "training configuration")
    datamodule = built.datamodule
    datamodule.setup()
    dataset = datamodule.train_dataloader().dataset
    batches = datamodule.batches("train", n_processes)
    n_steps = _count_steps(len(batches), built.trainer.limit_train_batches)
    audit = audit_batches(batches, dataset, datamodule.index, epoch, max_steps, n_steps)
    with atomic_path(Path(out_dir) / "batches.csv") as temporary:
        audit.steps.to_csv(temporary, index=False, float_format="%.6g")
    log.info(
        "%d of %d steps of epoch %d audited, as %d process(es) train them",
        len(audit.steps),
        audit.epoch_steps,
        epoch,
        n_processes,
    )
    return audit, example_pairs(datamodule, dataset, audit.draws, epoch)


def _count_replicas(trainer: dict[str, Any]) -> int:
    """Processes that the trainer asks for; where it leaves that open, those of this machine."""
    devices = trainer.get("devices", "auto")
    number = str(len(devices)) if isinstance(devices, list) else str(devices)
    if number.isdecimal() and int(number) > 0:
        return int(number) * trainer.get("num_nodes", 1)
    accelerator = "cpu" if trainer.get("accelerator") == "cpu" else "auto"
    n_devices, n_nodes = count_processes(trainer | {"accelerator": accelerator})
    return n_devices * n_nodes


def _count_steps(n_steps: int, limit: int | float) -> int:
    """Steps of an epoch that the trainer lets through, as Lightning counts them."""
    limited = int(n_steps * limit) if isinstance(limit, float) else min(n_steps, limit)
    if limited < 1:
        raise UserError(
            f"trainer.limit_train_batches is {limit}: of the {n_steps} steps of an epoch none is "
            "left. Raise it."
        )
    return limited


def audit_batches(
    sampler: FlexibleBatchSampler,
    dataset: MultiExperimentTripletDataset,
    index: MultiExperimentIndex,
    epoch: int = 0,
    max_steps: int = MAX_STEPS,
    epoch_steps: int | None = None,
) -> Audit:
    """Compose an epoch's batches, with their positives, and count what they hold.

    `epoch_steps` are the steps that an epoch is trained for; by default all of the sampler's.
    """
    epoch_steps = len(sampler) if epoch_steps is None else epoch_steps
    hours, lineage = index.column("hours"), index.column("lineage_id")
    draw_positives: Any = dataset.positives
    available = _anchor_table(dataset, index, np.arange(len(dataset)))
    columns = [c for c in ("experiment", "condition", "marker") if c in available]
    used = {column: sorted(available[column].unique()) for column in columns}
    draws, steps = [], []
    for step in range(min(epoch_steps, max_steps)):
        batch = sampler.describe(epoch, step)
        drawn = _anchor_table(dataset, index, batch.rows)
        rows = drawn["row"].to_numpy()
        positives = draw_positives(rows, epoch)
        focal_hour = np.nan if batch.focal_hour is None else batch.focal_hour
        drawn.insert(0, "step", step)
        drawn["part"] = batch.part
        drawn["hours"] = hours[rows]
        drawn["focal_hour"] = focal_hour
        drawn["offset_hours"] = hours[positives] - hours[rows]
        draws.append(drawn)
        facts = {
            "step": step,
            "group": batch.group,
            "focal_hour": focal_hour,
            "rows": len(rows),
            "distinct_rows": np.unique(batch.rows).size,
            "lineages": np.unique(lineage[rows]).size,
            "same_lineage_negatives": same_lineage_share(lineage[rows]),
            "widened": batch.widened,
            "outside_window": batch.outside_window,
        }
        steps.append(facts | _counts(drawn, used))
    table = pd.DataFrame(steps)
    # A part that a step lacks has none of its rows.
    parts = sorted({part for drawn in draws for part in drawn["part"]})
    table[parts] = table[parts].fillna(0).astype(int)
    return Audit(pd.concat(draws, ignore_index=True), table, available, epoch_steps)


def _counts(drawn: pd.DataFrame, used: dict[str, list[str]]) -> dict[str, int]:
    """Rows of each part, and of each used value of some columns."""
    counts = {str(part): n for part, n in drawn["part"].value_counts(sort=False).items()}
    for column, names in used.items():
        counts |= {f"{column}={name}": (drawn[column] == name).sum() for name in names}
    return counts


def _anchor_table(
    dataset: MultiExperimentTripletDataset, index: MultiExperimentIndex, positions: NDArray
) -> pd.DataFrame:
    """What anchors are: position, row, experiment, condition and, of a bag of channels, marker."""
    rows, markers = dataset.anchors_at(positions).T
    table = pd.DataFrame({"position": positions, "row": rows})
    for column in ("experiment", "condition"):
        codes, names = index.codes(column)
        table[column] = np.asarray(names, dtype=object)[codes[rows]]
    if dataset.pairs is not None:
        table["marker"] = np.asarray(dataset.pairs.markers, dtype=object)[markers]
    return table


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
) -> Pairs:
    """Read a few pairs from steps spread over the epoch."""
    chosen = np.linspace(0, len(draws) - 1, min(N_PAIRS, len(draws))).astype(int)
    shown = draws.iloc[chosen].reset_index(drop=True)
    keys = epoch * len(dataset) + shown["position"].to_numpy()
    batch = dataset.__getitems__(keys.tolist())
    batch = datamodule.on_after_batch_transfer(batch, 0)
    patches = {}
    for number, view in enumerate(("anchor", "positive")):
        x_BCZYX, imaged_BC = batch[view]["patch"], batch[view]["present"].numpy()
        augmented = datamodule.augment(x_BCZYX, number)
        for name, views in ((view, x_BCZYX), (f"augmented {view}", augmented)):
            middle_BCYX = _middle(views, datamodule.patches.size)
            patches[name] = np.where(imaged_BC[..., None, None], middle_BCYX, np.nan)
    markers = () if datamodule.patches.bag_of_channels else datamodule.patches.markers
    return Pairs(shown, patches, tuple(markers))


def _middle(x_BCZYX: Tensor, size: tuple[int, int]) -> NDArray:
    """Middle plane, without the margin that augmentation needs."""
    *_, depth, height, width = x_BCZYX.shape
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return x_BCZYX[:, :, depth // 2, top : top + size[0], left : left + size[1]].numpy()
