"""Patches of cells with what is needed to normalize them, addressed by index row."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.data.patches import PatchReader, PatchSource, depth_window
from dynaclr.experiments import ExperimentConfig, Plate, UserError
from dynaclr.index import MultiExperimentIndex

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NormalizationConfig:
    """Which intensity statistics a patch is normalized with: ``(pixel - center) / spread``.

    Attributes
    ----------
    level
        Pool of pixels that the statistics come from.
    center, spread
        Statistic that is subtracted, and the one that is divided by.
    """

    level: Literal["frame", "fov", "experiment"] = "fov"
    center: Literal["mean", "median", "p1", "p5"] = "median"
    spread: Literal["std", "iqr"] = "std"


@dataclass(frozen=True)
class PatchConfig:
    """What is cut out around each cell.

    Attributes
    ----------
    markers
        Channels of a patch, by what they show. A marker that an experiment or a well lacks is
        filled with zeros.
    size
        Extent (y, x) of a patch, in pixels of `reference_pixel_size_um` where that is given.
    depth
        Planes of a patch, around the middle of the stack.
    reference_pixel_size_um
        When given, patches cover ``size`` times this many micrometres in every experiment and
        are resampled to ``size``; else they have ``size`` native pixels.
    """

    markers: tuple[str, ...]
    size: tuple[int, int]
    depth: int = 1
    reference_pixel_size_um: float | None = None


class CellReader:
    """Reads the patches of index rows from the plates of several experiments.

    Parameters
    ----------
    index : MultiExperimentIndex
        Rows are numbers into this index.
    registry : mapping of str to ExperimentConfig
        The experiments by name; must hold those of the index.
    statistics : DataFrame
        Rows of `dynaclr.data.statistics.compute_statistics` for these experiments.
    patches : PatchConfig
    normalization : NormalizationConfig
    cache_bytes : int
        Most bytes of decoded chunks to keep in this process.
    extraction_size : tuple of int, optional
        Extent (y, x) that is read around each patch, a margin for augmentation; default: none.

    Attributes
    ----------
    patch_sizes, image_shapes : dict of (experiment, fov) to (height, width)
        In pixels of the image, without the margin for augmentation.

    Raises
    ------
    UserError
        When no experiment has any of the markers, an image is smaller than a patch, or statistics
        lack.
    """

    def __init__(
        self,
        index: MultiExperimentIndex,
        registry: Mapping[str, ExperimentConfig],
        statistics: pd.DataFrame,
        patches: PatchConfig,
        normalization: NormalizationConfig,
        cache_bytes: int = 256 << 20,
        extraction_size: tuple[int, int] | None = None,
    ) -> None:
        self.patches = patches
        self.extraction_size = extraction_size or patches.size
        self._source, places = _sources_of(index)
        experiments = [registry[name] for name, _ in places]
        _tell_absent_markers(patches.markers, registry)
        sources = _patch_sources(places, registry, patches, self.extraction_size)
        self.patch_sizes = {
            place: source.size for place, source in zip(places, sources, strict=True)
        }
        self.image_shapes = {
            place: source.position.shape[-2:] for place, source in zip(places, sources, strict=True)
        }
        self._present = np.array([source.channels for source in sources]) >= 0
        self._reader = PatchReader(sources, patches.depth, cache_bytes)
        self._center, self._spread = _normalizers(
            places, experiments, patches.markers, statistics, normalization
        )
        self._t, self._y, self._x = (index.column(name) for name in ("t", "y", "x"))

    def read(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Read the patches of index rows.

        Returns
        -------
        dict
            ``patch`` (B, C, Z, Y, X) float32 of the extraction size, as stored in the plate, and
            ``center``, ``spread`` (B, C) float32 to normalize it with. ``present`` (B, C) bool:
            whether the channel was imaged; it is zero where not.
        """
        source, t = self._source[rows], self._t[rows]
        crops = self._reader.read(source, t, self._y[rows], self._x[rows])
        frame = t if self._center.shape[1] > 1 else np.zeros_like(t)
        return {
            "patch": self._stack(crops),
            "center": torch.from_numpy(self._center[source, frame]),
            "spread": torch.from_numpy(self._spread[source, frame]),
            "present": torch.from_numpy(self._present[source]),
        }

    def _stack(self, crops: list[NDArray[np.float32]]) -> Tensor:
        """Bring crops of several native sizes to the common size, in their order."""
        shape = (len(crops), len(self.patches.markers), self.patches.depth, *self.extraction_size)
        patch_BCZYX = torch.empty(shape)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, crop in enumerate(crops):
            by_size.setdefault(crop.shape[-2:], []).append(number)
        for size, numbers in by_size.items():
            native_BCZYX = torch.from_numpy(np.stack([crops[number] for number in numbers]))
            if size != tuple(self.extraction_size):
                native_BCZYX = _resample(native_BCZYX, self.extraction_size)
            patch_BCZYX[numbers] = native_BCZYX
        return patch_BCZYX


def _resample(native_BCZYX: Tensor, size: tuple[int, int]) -> Tensor:
    b, c, z = native_BCZYX.shape[:3]
    resampled = torch.nn.functional.interpolate(
        native_BCZYX.flatten(1, 2), size, mode="bilinear", antialias=True, align_corners=False
    )
    return resampled.reshape(b, c, z, *size)


def _sources_of(
    index: MultiExperimentIndex,
) -> tuple[NDArray[np.int32], list[tuple[str, str]]]:
    """Number of each row's field of view, and (experiment, fov) of each number."""
    experiment, experiments = index.codes("experiment")
    fov, fovs = index.codes("fov")
    combined = experiment.astype(np.int64) * len(fovs) + fov
    keys, source = np.unique(combined, return_inverse=True)
    places = [(experiments[key // len(fovs)], fovs[key % len(fovs)]) for key in keys]
    return source.astype(np.int32), places


def check_markers(markers: tuple[str, ...], registry: Mapping[str, ExperimentConfig]) -> None:
    """Every marker must be in some experiment; one that some experiments lack is zeros there.

    Raises
    ------
    UserError
        When no experiment has a marker.
    """
    known = {marker for entry in registry.values() for marker in entry.markers}
    for marker in markers:
        if marker not in known:
            raise UserError(
                f"marker {marker!r}: no experiment of {', '.join(registry)} has it. "
                f"Known markers: {', '.join(sorted(known))}. Correct `data.patches.markers`."
            )


def _tell_absent_markers(
    markers: tuple[str, ...], registry: Mapping[str, ExperimentConfig]
) -> None:
    for name, entry in registry.items():
        absent = [marker for marker in markers if marker not in entry.markers]
        if len(absent) == len(markers):
            raise UserError(
                f"experiment {name}: has none of the markers {', '.join(markers)}, only "
                f"{', '.join(entry.markers)}. Correct `marker` under its `channels`, or leave the "
                "experiment out."
            )
        if absent:
            log.warning("experiment %s: no %s; filled with zeros", name, ", ".join(absent))


def _patch_sources(
    places: list[tuple[str, str]],
    registry: Mapping[str, ExperimentConfig],
    patches: PatchConfig,
    extraction_size: tuple[int, int],
) -> list[PatchSource]:
    plates = {name: Plate(registry[name].data_path) for name in dict(places)}
    sources = []
    for name, fov in places:
        entry, position = registry[name], plates[name].positions[fov]
        channels = tuple(
            position.channels.index(entry.channel_name(marker))
            if entry.has_marker(marker, position.well)
            else -1
            for marker in patches.markers
        )
        pixel = entry.pixel_size_um or position.pixel_size_um
        scale = (patches.reference_pixel_size_um or pixel) / pixel
        size = tuple(round(extent * scale) for extent in patches.size)
        margin = tuple(
            round(whole * scale) - kept for whole, kept in zip(extraction_size, size, strict=True)
        )
        start = depth_window(position.shape[2], patches.depth, f"{position.path}: {fov}")
        sources.append(PatchSource(position, channels, size, start, margin))
    return sources


def _normalizers(
    places: list[tuple[str, str]],
    experiments: list[ExperimentConfig],
    markers: tuple[str, ...],
    statistics: pd.DataFrame,
    normalization: NormalizationConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Center and spread for each (field of view, frame or 0, marker); 0 and 1 where absent."""
    table = statistics[statistics["level"] == normalization.level]
    n_frames = int(table["t"].max()) + 1 if normalization.level == "frame" else 1
    shape = (len(places), n_frames, len(markers))
    center, spread = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    groups = dict(list(table.groupby(["experiment", "fov", "marker"], observed=True)))
    for number, ((name, fov), entry) in enumerate(zip(places, experiments, strict=True)):
        pool = "" if normalization.level == "experiment" else fov
        for c, marker in enumerate(markers):
            if not entry.has_marker(marker, fov.rsplit("/", 1)[0]):
                continue
            if (name, pool, marker) not in groups:
                raise UserError(
                    f"experiment {name}: no intensity statistics for {marker!r} in {fov}. "
                    "Run `dynaclr statistics` for it again."
                )
            rows = groups[name, pool, marker]
            frames = rows["t"].to_numpy() if normalization.level == "frame" else [0]
            center[number, frames, c] = rows[normalization.center].to_numpy()
            spread[number, frames, c] = rows[normalization.spread].to_numpy()
            if not (spread[number, :, c] > 0).all():
                log.warning("%s %s: %s is constant; it is not scaled", name, fov, marker)
    return center, spread
