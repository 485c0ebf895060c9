"""Lightning data module: training and validation batches of a collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import nn

from dynaclr.config import UserError
from dynaclr.config.columns import MARKER, UNKNOWN, columns_of_data
from dynaclr.data.loading.checks import check_markers, check_ranges
from dynaclr.data.loading.dataset import Batch, IndexColumn, MultiExperimentTripletDataset
from dynaclr.data.loading.observation_reader import ObservationReader, at_common_size
from dynaclr.data.loading.positives import (
    TAU_RANGE,
    as_names,
    column_sampler,
    lineage_sampler,
)
from dynaclr.data.loading.resumable_loader import ResumableLoader
from dynaclr.data.loading.sampling_config import SamplingConfig
from dynaclr.data.pixels.patch_geometry import FieldsOfView, PatchConfig
from dynaclr.data.statistics.normalization import NormalizationConfig, read_statistics
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.anchors import Anchors
from dynaclr.sampling import (
    ColumnPositiveSampler,
    FixedEpochBatchSampler,
    FlexibleBatchSampler,
    PositiveSampler,
)
from dynaclr.transforms import Compose, Normalize

log = logging.getLogger(__name__)

_VIEWS = ("anchor", "positive")
_TAKEN = ("patch", "center", "spread", "present", "row")


class MultiExperimentDataModule(LightningDataModule):
    """Batches of anchors and positives from a merged collection of experiments.

    Parameters
    ----------
    collection : Path
        Folder of the collection (merged index, registry, manifest).
    experiments : Path
        Folder that holds ``<experiment>/statistics.parquet``, and ``labels`` where columns of
        annotations are used.
    patches : PatchConfig
        What the encoder sees of an observation.
    augmentations : list of nn.Module
        Applied in this order to training patches, on the training device; each is called as
        ``transform(x_BCZYX, generator)``, or with ``present_BC`` too (see `Compose`) where its
        ``forward`` has that argument. The result must have the extent of `patches`.
    extraction_size : tuple of int, optional
        Extent (y, x) that is read of training patches, larger than ``patches.size`` to leave a
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
        Condition on the index's columns: comparisons, ``in``, ``and``, ``or``, ``not``.
        Observations that do not fulfil it are neither anchor nor positive.
    max_border_shift : int, optional
        Observations whose patch would have to move by more than this many pixels of the image to
        lie inside it are neither anchor nor positive. Default: patches move as far as they must.
    carry : list of str, optional
        Columns of the index that batches carry along for supervised heads. Text becomes codes,
        indices into `classes`, the same ones in both splits; -1 where the index says "unknown".
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
        are replaced by others of the batch, with a warning and counted.
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
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
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
        height, width = extraction_size or patches.size
        self.extraction_size = height, width
        self.normalization = normalization
        self.tau_range = tau_range[0], tau_range[1]
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
        self._position: dict[str, int] = {}
        check_ranges(self)

    def setup(self, stage: str | None = None) -> None:
        """Open the index and find the valid anchors of both splits."""
        named = {"positives": self.positives, "carry": self.carry, "query": self.query}
        self.index = self.index_with(columns_of_data(named | {"sampling": asdict(self.sampling)}))
        check_markers(self.patches.markers, self.index.registry)
        self.fields = FieldsOfView(self.index, self.index.registry)
        candidates = self._candidates()
        self._positives = self._positive_sampler(candidates.mask)
        paired = candidates.keep("has_positive", self._positives.has_positive)
        self.classes: dict[str, list[str]] = {}
        self._columns = {"lineage_id": IndexColumn(self.index, "lineage_id")}
        self._columns |= {name: self._carried(name) for name in self.carry}
        statistics = read_statistics(self.experiments, self.index.experiments)
        sizes = {"train": self.extraction_size, "validation": self.patches.size}
        readers = {split: self._reader(statistics, size) for split, size in sizes.items()}
        self._anchors = {split: self._anchors_of(split, paired) for split in readers}
        self._datasets = {
            split: self._dataset(reader, self._anchors[split].rows)
            for split, reader in readers.items()
        }

    def index_with(self, columns: Collection[str]) -> MultiExperimentIndex:
        """Open the collection's index, with the experiments' labels if it lacks some column."""
        path = self.collection / "index.arrow"
        index = MultiExperimentIndex.from_merged(path)
        if {*columns} <= {*index.columns, MARKER}:
            return index
        return MultiExperimentIndex.from_merged(path, self.experiments, sorted(columns))

    def _candidates(self) -> Anchors:
        """Observations that may be anchor or positive."""
        border: dict[str, Any] = {}
        if self.max_border_shift is not None:
            border = {
                "patch_size": self.fields.patch_sizes(self.patches),
                "image_shapes": self.fields.image_shapes,
                "max_border_shift": self.max_border_shift,
            }
        return self.index.valid_anchors(query=self.query, **border)

    def _positive_sampler(
        self, candidates: NDArray[np.bool_]
    ) -> PositiveSampler | ColumnPositiveSampler:
        if not isinstance(self.positives, str):
            return column_sampler(self.index, candidates, self.positives, self.seed)
        same_track = self.positives == "track"
        return lineage_sampler(
            self.index, candidates, self.tau_range, self.decay_rate, same_track, self.seed
        )

    def _carried(self, name: str) -> IndexColumn:
        """Values of a column; codes where it is text."""
        if name in _TAKEN:
            raise UserError(f"data.carry: batches have a {name!r} of their own. Rename the column.")
        if not self.index.is_text(name):
            return IndexColumn(self.index, name)
        _, categories = self.index.codes(name)
        self.classes[name] = [category for category in categories if category != UNKNOWN]
        code_of = {category: code for code, category in enumerate(self.classes[name])}
        codes = np.array([code_of.get(category, -1) for category in categories], np.int32)
        return IndexColumn(self.index, name, codes)

    def _reader(
        self, statistics: pd.DataFrame, extraction_size: tuple[int, int]
    ) -> ObservationReader:
        # A worker reads one of the splits, this process both.
        cache_bytes = (self.cache_mb << 20) // (1 if self.num_workers else 2)
        return ObservationReader(
            self.fields,
            statistics,
            self.patches,
            self.normalization,
            cache_bytes,
            extraction_size,
            self.experiments,
        )

    def _anchors_of(self, split: str, paired: Anchors) -> Anchors:
        anchors = paired.keep("split", self.index.in_split(split))
        if len(anchors) == 0:
            kind, key = f"{self.tau_range[0]:g} to {self.tau_range[1]:g} hours later", "tau_range"
            if not isinstance(self.positives, str):
                kind, key = f"that agrees on {', '.join(self.positives)}", "positives"
            raise UserError(
                f"{self.collection}: no {split} observation has a positive {kind}. Widen "
                f"`data.{key}`, or what `data.query` and `data.max_border_shift` let through."
            )
        log.info("%s: %d anchors; left out: %s", split, len(anchors), anchors.left_out)
        return anchors

    def _dataset(
        self, reader: ObservationReader, rows: NDArray[np.int64]
    ) -> MultiExperimentTripletDataset:
        anchors = reader.marker_pairs(rows) if self.patches.bag_of_channels else rows
        return MultiExperimentTripletDataset(
            reader, anchors, self._positives.sample, self._columns, self.unreadable
        )

    def class_counts(self, name: str) -> NDArray[np.int64]:
        """Number of training anchors of each class of a carried text column, in their order."""
        codes = self._columns[name][self._anchors["train"].rows]
        return np.bincount(codes[codes >= 0], minlength=len(self.classes[name]))

    def batches(self, split: str, num_replicas: int | None = None) -> FlexibleBatchSampler:
        """Compose the batches of a split, for this process's rank among the replicas.

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
        table["marker"] = pd.Categorical.from_codes(markers, list(self.patches.markers))
        return table

    def _options(self, split: str, table: pd.DataFrame) -> dict[str, Any]:
        options = asdict(self.sampling)
        if split != "train":
            # Experiments that only validate have no weight in training.
            options["group_weights"] = None
            names = as_names(self.sampling.batch_group_by)
            if names and len(table[names].drop_duplicates()) == 1:
                # With one experiment there are no other groups: not worth a warning in validation.
                options["leaky"] = 0.0
        return options

    def train_dataloader(self) -> ResumableLoader:
        """Batches of training anchors, from where a checkpoint left off."""
        self._train_loader = self._loader("train")
        if self._position:
            self._train_loader.load_state_dict(self._position)
        return self._train_loader

    def state_dict(self) -> dict[str, int]:
        """Position in the epoch, for a checkpoint."""
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take over the position in the epoch; the training loader will start there."""
        # Lightning would hand it to the loader itself, but not if a schedule has asked for the
        # number of steps before.
        self._position = state_dict

    def val_dataloader(self) -> ResumableLoader:
        """Batches of validation anchors, the same ones every epoch."""
        return self._loader("validation")

    def _loader(self, split: str) -> ResumableLoader:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return ResumableLoader(self._datasets[split], self.batches(split), self.num_workers, device)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note when a batch has arrived, to separate waiting from work on the batch."""
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
        batch: int = 0,
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
        batch, rank : int
            Number of training batches before this one, and process; with the seed and the view
            they determine the random draw.
        present_BC : Tensor of bool, shape (B, C), optional
            Whether a channel of a patch was imaged; default: all were.
        """
        sequence = np.random.SeedSequence((self.seed, batch, rank, view))
        generator = torch.Generator(device=x_BCZYX.device)
        generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
        return self.augmentations(x_BCZYX, generator, present_BC)
