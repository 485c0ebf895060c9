"""Training and validation batches from a collection of experiments."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import nn

from dynaclr.config import UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.data.loading.dataset import Batch, IndexColumn, MultiExperimentTripletDataset
from dynaclr.data.loading.loaders import ResumableLoader
from dynaclr.data.loading.markers import check_markers
from dynaclr.data.loading.observation_reader import CellReader, PatchConfig, at_common_size
from dynaclr.data.loading.positives import POSITIVES, TAU_RANGE, as_names, offsets_of_all
from dynaclr.data.statistics.lookup import NormalizationConfig, read_statistics
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.anchors import Anchors
from dynaclr.index.columns import SPLIT
from dynaclr.index.merge import UNKNOWN
from dynaclr.sampling import (
    ColumnPositiveSampler,
    FixedEpochBatchSampler,
    FlexibleBatchSampler,
    PositiveSampler,
    offset_weights,
)
from dynaclr.transforms import Compose, Normalize

log = logging.getLogger(__name__)

_VIEWS = ("anchor", "positive")
_TAKEN = ("patch", "center", "spread", "present", "row")


@dataclass(frozen=True)
class SamplingConfig:
    """How a batch is composed; see `dynaclr.sampling.FlexibleBatchSampler`.

    Attributes
    ----------
    batch_group_by
        All rows of a batch share this column's value (or these columns').
    stratify_by
        A batch holds equal shares of this column's values.
    leaky
        Share of rows from other groups.
    group_weights
        Weight of every group: its share of the batches. Default: by its rows.
    temporal_enrichment, temporal_window_hours, temporal_global_fraction
        Whether a batch centres on a focal hour, how wide the window is, and the share of rows
        from all hours.
    """

    batch_group_by: str | list[str] | None = "experiment"
    stratify_by: str | list[str] | None = "condition"
    leaky: float = 0.0
    group_weights: dict[str, float] | None = None
    temporal_enrichment: bool = False
    temporal_window_hours: float = 2.0
    temporal_global_fraction: float = 0.3


class MultiExperimentDataModule(LightningDataModule):
    """Batches of anchors and positives from a merged collection of experiments.

    Parameters
    ----------
    collection : Path
        Folder of the collection (merged index, registry, manifest).
    experiments : Path
        Folder that holds ``<experiment>/statistics.parquet``.
    patches : PatchConfig
        What the encoder sees of a cell.
    augmentations : list of nn.Module
        Applied in this order to training patches, on the training device; each is called as
        ``transform(x_BCZYX, generator)``, or with ``present_BC`` too (see `Compose`) where its
        ``forward`` has that argument. The result must have the extent of `patches`.
    extraction_size : tuple of int, optional
        Extent (y, x) that training patches are cut with, larger than ``patches.size`` to leave a
        margin for rotation and shift; the last augmentation must crop it. Default: no margin.
    normalization : NormalizationConfig
    tau_range : tuple of float
        Hours from an anchor to its positive; ``[0, 0]`` takes the same observation twice, and
        negative hours take an earlier observation of the cell or of an ancestor. Without effect
        where `positives` are columns, as is `decay_rate`.
    decay_rate : float
        How fast the probability of an offset falls over `tau_range`.
    positives : {"lineage", "track"} or list of str
        Whether a descendant may be the positive too, or the same track alone. Or columns of the
        index: any other observation of the split that agrees on all of them, where an "unknown"
        agrees with nothing.
    query : str, optional
        Expression of `pandas.DataFrame.query` over the index's columns; observations that do not
        fulfil it are neither anchor nor positive.
    max_border_shift : int, optional
        Observations whose patch would have to move by more than this many pixels of the image to
        lie inside it are neither anchor nor positive. Default: patches move as far as they must.
    carry : list of str, optional
        Columns of the index that batches carry along for supervised heads. Text becomes codes,
        places in `classes`, the same ones in both splits; -1 where the index says "unknown".
    sampling : SamplingConfig
    batch_size : int
        Anchors of a batch, per process.
    num_workers : int
        Processes that read batches; 0 reads in the training process.
    cache_mb : int
        Most megabytes of decoded chunks kept in each reading process; where the training process
        reads, each split has half of it.
    unreadable : {"error", "skip"}
        Whether pixels that are missing or damaged end the training, or the pairs that need them
        are replaced by others of the batch, told and counted.
    seed : int
        Seed of batches, positives and augmentation.

    Attributes
    ----------
    classes : dict of str to list of str
        Names of the codes of every carried text column, known after `setup`.
    replaced : int
        Pairs of this process that were replaced because they could not be read.
    batch_arrived : float
        When the loader handed over the last batch, in seconds of `time.perf_counter`.

    Raises
    ------
    ValueError
        When a number is outside its range.

    Notes
    -----
    Batches are composed for the trainer's world size and rank. With several processes Lightning
    must not wrap them once more: give it ``Trainer(use_distributed_sampler=False)``, as `dynaclr
    train` does.
    """

    def __init__(
        self,
        collection: Path,
        experiments: Path,
        patches: PatchConfig,
        augmentations: list[nn.Module] | None = None,
        extraction_size: tuple[int, int] | None = None,
        normalization: NormalizationConfig = NormalizationConfig(),  # noqa: B008 (frozen)
        tau_range: tuple[float, float] = TAU_RANGE,
        decay_rate: float = 2.0,
        positives: str | list[str] = "lineage",
        query: str | None = None,
        max_border_shift: int | None = None,
        carry: list[str] | None = None,
        sampling: SamplingConfig = SamplingConfig(),
        batch_size: int = 256,
        num_workers: int = 0,
        cache_mb: int = 256,
        unreadable: Literal["error", "skip"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.collection = Path(collection)
        self.experiments = Path(experiments)
        self.patches = patches
        self.augmentations = Compose(augmentations or [])
        self.extraction_size = tuple(extraction_size or patches.size)
        self.normalization = normalization
        self.tau_range = tuple(tau_range)
        self.decay_rate = decay_rate
        self.positives = positives if isinstance(positives, str) else list(positives)
        self.query = query
        self.max_border_shift = max_border_shift
        self.carry = list(carry or [])
        self.sampling = sampling
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache_mb = cache_mb
        self.unreadable = unreadable
        self.replaced = 0
        self.seed = seed
        self._normalize = Normalize()
        self._train_loader: ResumableLoader | None = None
        self._place: dict[str, int] = {}
        self._check_ranges()

    def _check_ranges(self) -> None:
        size, depth, markers = self.patches.size, self.patches.depth, list(self.patches.markers)
        extraction, (first, last), sampling = self.extraction_size, self.tau_range, self.sampling
        share, window = sampling.temporal_global_fraction, sampling.temporal_window_hours
        requirements = [
            (self.batch_size >= 1, f"batch_size is {self.batch_size}; it must be 1 or more"),
            (self.num_workers >= 0, f"num_workers is {self.num_workers}; it must be 0 or more"),
            (self.cache_mb >= 0, f"cache_mb is {self.cache_mb}; it must be 0 or more"),
            (
                0 < len(markers) == len(set(markers)),
                f"patches.markers is {markers}; it must name distinct markers",
            ),
            (min(size) >= 1, f"patches.size is {list(size)}; both extents must be 1 or more"),
            (depth >= 1, f"patches.depth is {depth}; it must be 1 or more"),
            (
                all(cut >= kept for cut, kept in zip(extraction, size, strict=True)),
                f"extraction_size is {list(extraction)}, smaller than patches.size {list(size)}",
            ),
            (
                -math.inf < first <= last < math.inf,
                f"tau_range is {[first, last]}; it must be two finite numbers that ascend",
            ),
            (
                self.max_border_shift is None or self.max_border_shift >= 0,
                f"max_border_shift is {self.max_border_shift}; it must be 0 or more",
            ),
            (
                self.positives in POSITIVES
                if isinstance(self.positives, str)
                else len(self.positives) > 0,
                f"positives is {self.positives!r}; it must be a mode or a list of columns. "
                f"{did_you_mean(str(self.positives), POSITIVES)}",
            ),
            (self.decay_rate >= 0, f"decay_rate is {self.decay_rate}; it must be 0 or more"),
            (
                0 <= sampling.leaky <= 1,
                f"sampling.leaky is {sampling.leaky}; it must be from 0 to 1",
            ),
            (
                0 <= share <= 1,
                f"sampling.temporal_global_fraction is {share}; it must be from 0 to 1",
            ),
            (window >= 0, f"sampling.temporal_window_hours is {window}; it must be 0 or more"),
        ]
        faults = [f"data.{message}" for holds, message in requirements if not holds]
        if faults:
            raise ValueError("; ".join(faults))

    def setup(self, stage: str | None = None) -> None:
        """Open the index and find the valid anchors of both splits."""
        self.index = MultiExperimentIndex.from_merged(self.collection / "index.arrow")
        check_markers(self.patches.markers, self.index.registry)
        statistics = read_statistics(self.experiments, self.index.experiments)
        sizes = {"train": self.extraction_size, "validation": self.patches.size}
        readers = {split: self._reader(statistics, size) for split, size in sizes.items()}
        selected = self._selected(readers["train"])
        self._positives = self._positive_sampler(selected.mask)
        paired = selected.keep("has_positive", self._positives.has_positive)
        self.classes: dict[str, list[str]] = {}
        self._columns = {"lineage_id": IndexColumn(self.index, "lineage_id")}
        self._columns |= {name: self._carried(name) for name in self.carry}
        self._anchors: dict[str, Anchors] = {}
        self._datasets = {
            split: self._dataset(split, reader, paired) for split, reader in readers.items()
        }

    def _reader(self, statistics: pd.DataFrame, extraction_size: tuple[int, int]) -> CellReader:
        # A worker reads one of the splits, this process both.
        cache_bytes = (self.cache_mb << 20) // (1 if self.num_workers else 2)
        return CellReader(
            self.index,
            self.index.registry,
            statistics,
            self.patches,
            self.normalization,
            cache_bytes,
            extraction_size,
            self.experiments,
        )

    def _selected(self, reader: CellReader) -> Anchors:
        """Which observations may be anchor or positive."""
        border = {}
        if self.max_border_shift is not None:
            border = {
                "patch_size": reader.patch_sizes,
                "image_shapes": reader.image_shapes,
                "max_border_shift": self.max_border_shift,
            }
        return self.index.valid_anchors(query=self.query, **border)

    def _positive_sampler(
        self, selected: NDArray[np.bool_]
    ) -> PositiveSampler | ColumnPositiveSampler:
        if not isinstance(self.positives, str):
            return self._column_sampler(self.positives, selected)
        codes, names = self.index.codes("experiment")
        offsets = offsets_of_all(self.tau_range, self.index.registry, names)
        t, branch, branch_end = (
            self.index.column(column) for column in ("t", "branch", "branch_end")
        )
        if self.positives == "track":
            branch_end = branch + 1
        weights = [offset_weights(own, self.decay_rate) for own in offsets]
        return PositiveSampler(
            t,
            branch,
            branch_end,
            codes,
            offsets,
            weights=weights,
            candidates=None if selected.all() else selected,
            seed=self.seed,
        )

    def _column_sampler(
        self, names: list[str], selected: NDArray[np.bool_]
    ) -> ColumnPositiveSampler:
        for name in names:
            if name not in self.index.columns:
                raise UserError(
                    f"data.positives: the index has no column {name!r}. "
                    f"{did_you_mean(name, self.index.columns)}"
                )
            if self.index.is_text(name):
                codes, categories = self.index.codes(name)
                if UNKNOWN in categories:
                    selected = selected & (codes != categories.index(UNKNOWN))
        # No positive comes from the other side of the split.
        everything = self.index.frame(list(dict.fromkeys([*names, SPLIT])))
        try:
            return ColumnPositiveSampler(everything, candidates=selected, seed=self.seed)
        except ValueError as error:
            raise UserError(f"data.positives: {error}") from None

    def _dataset(
        self, split: str, reader: CellReader, paired: Anchors
    ) -> MultiExperimentTripletDataset:
        anchors = paired.keep("split", self.index.in_split(split))
        self._anchors[split] = anchors
        if len(anchors) == 0:
            kind, key = f"{self.tau_range[0]:g} to {self.tau_range[1]:g} hours later", "tau_range"
            if not isinstance(self.positives, str):
                kind, key = f"that agrees on {', '.join(self.positives)}", "positives"
            raise UserError(
                f"{self.collection}: no {split} cell has a positive {kind}. Widen `data.{key}`, or "
                "what `data.query` and `data.max_border_shift` let through."
            )
        log.info("%s: %d anchors; left out: %s", split, len(anchors), anchors.left_out)
        chosen = anchors.rows
        if self.patches.bag_of_channels:
            chosen = reader.marker_pairs(anchors.rows)
        return MultiExperimentTripletDataset(
            reader, chosen, self._positives.sample, self._columns, self.unreadable
        )

    def _carried(self, name: str) -> IndexColumn:
        """Values of a column; codes where it is text."""
        if name in _TAKEN:
            raise UserError(f"data.carry: batches have a {name!r} of their own. Rename the column.")
        if not self.index.is_text(name):
            return IndexColumn(self.index, name)
        _, categories = self.index.codes(name)
        self.classes[name] = [category for category in categories if category != UNKNOWN]
        places = {category: place for place, category in enumerate(self.classes[name])}
        codes = np.array([places.get(category, -1) for category in categories], np.int32)
        return IndexColumn(self.index, name, codes)

    def class_counts(self, name: str) -> NDArray[np.int64]:
        """Number of training anchors of each class of a carried text column, in their order."""
        codes = self._columns[name][self._anchors["train"].rows]
        return np.bincount(codes[codes >= 0], minlength=len(self.classes[name]))

    def batches(self, split: str, num_replicas: int | None = None) -> FlexibleBatchSampler:
        """Compose the batches of a split, for this process's place among the replicas.

        Without a trainer it is the first of `num_replicas`, by default the only one.
        """
        anchors = self._anchors[split]
        columns = {"hours", *as_names(self.sampling.batch_group_by)}
        columns |= set(as_names(self.sampling.stratify_by))
        if self.patches.bag_of_channels:
            table = self._table_of_pairs(split, columns)
        else:
            table = anchors.frame(sorted(columns))
        kind = FlexibleBatchSampler if split == "train" else FixedEpochBatchSampler
        try:
            return kind(
                table,
                self.batch_size,
                **self._options(split, table),
                num_replicas=self.trainer.world_size if self.trainer else num_replicas or 1,
                rank=self.trainer.global_rank if self.trainer else 0,
                seed=self.seed,
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"data.sampling: {error}") from None

    def _table_of_pairs(self, split: str, columns: set[str]) -> pd.DataFrame:
        """Columns of a bag of channels' pairs; ``marker`` is one of them."""
        dataset = self._datasets[split]
        rows, markers = dataset.anchors_at(np.arange(len(dataset))).T
        table = self.index.frame(sorted(columns - {"marker"}), rows)
        table["marker"] = pd.Categorical.from_codes(markers, dataset.pairs.markers)
        return table

    def _options(self, split: str, table: pd.DataFrame) -> dict[str, Any]:
        options = asdict(self.sampling)
        if split != "train":
            # Experiments that only validate have no weight in training.
            options["group_weights"] = None
            names = as_names(self.sampling.batch_group_by)
            if names and len(table[names].drop_duplicates()) == 1:
                # One experiment that validates is no fault to warn of; training leaks nonetheless.
                options["leaky"] = 0.0
        return options

    def train_dataloader(self) -> ResumableLoader:
        """Batches of training anchors, from the place that a checkpoint left off at."""
        self._train_loader = self._loader("train")
        if self._place:
            self._train_loader.load_state_dict(self._place)
        return self._train_loader

    def state_dict(self) -> dict[str, int]:
        """Place in the epoch, for a checkpoint."""
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take over the place in the epoch; the training loader will start there."""
        # Lightning would hand it to the loader itself, but not if a schedule has asked for the
        # number of steps before.
        self._place = state_dict

    def val_dataloader(self) -> ResumableLoader:
        """Batches of validation anchors, the same ones every epoch."""
        return self._loader("validation")

    def _loader(self, split: str) -> ResumableLoader:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return ResumableLoader(self._datasets[split], self.batches(split), self.num_workers, device)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note when a batch has arrived, so that waiting can be told from work on the batch."""
        self.batch_arrived = time.perf_counter()
        if "replaced" in batch:
            self.replaced += int(batch["replaced"].sum())
        return batch

    def teardown(self, stage: str) -> None:
        """Say how many pairs could not be read."""
        if self.replaced:
            log.warning(
                "%d pairs could not be read and were replaced by others of their batch; the lines "
                "above name the chunks",
                self.replaced,
            )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalize and, in training, augment on the device that trains."""
        for number, view in enumerate(name for name in _VIEWS if name in batch):
            item = batch[view]
            x_BCZYX = self._normalize(at_common_size(item), item["center"], item["spread"])
            if self.trainer is not None and self.trainer.training:
                # Counted in batches, not in steps: accumulated batches share a step.
                batches = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
                rank = self.trainer.global_rank
                x_BCZYX = self.augment(x_BCZYX, number, batches, rank, item["present"])
            item["patch"] = x_BCZYX
        return batch

    def augment(
        self,
        x_BCZYX: torch.Tensor,
        view: int,
        place: int = 0,
        rank: int = 0,
        present_BC: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Augment normalized patches as training does.

        Parameters
        ----------
        x_BCZYX : Tensor
            Patches of `extraction_size`, normalized.
        view : int
            0 for anchors, 1 for positives.
        place, rank : int
            Number of training batches before this one, and process; with the seed and the view
            they decide the draw.
        present_BC : Tensor of bool, shape (B, C), optional
            Whether a channel of a patch was imaged; default: all were.
        """
        sequence = np.random.SeedSequence((self.seed, place, rank, view))
        generator = torch.Generator(device=x_BCZYX.device)
        generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
        return self.augmentations(x_BCZYX, generator, present_BC)
