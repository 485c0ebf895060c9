"""Patches of cells with what is needed to normalize them, addressed by index row."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.config import ExperimentConfig
from dynaclr.data.loading.markers import check_some_marker
from dynaclr.data.patch_store.reader import PatchStore, find_store
from dynaclr.data.pixels.patch_reader import PatchReader, PatchSource, depth_window
from dynaclr.data.pixels.unreadable import flag_or_refuse, place_of
from dynaclr.data.statistics.lookup import (
    NormalizationConfig,
    Place,
    first_planes,
    leading_markers,
    normalizers,
)
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.fovs import FovRuns
from dynaclr.index.markers import MarkerPairs
from dynaclr.io import Plate, Position

log = logging.getLogger(__name__)


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
        Planes that are read of a stack.
    reference_pixel_size_um
        When given, patches cover ``size`` times this many micrometres in every experiment and
        are resampled to ``size``; else they have ``size`` native pixels. They are cut from the
        coarsest resolution level of the plate that is at least as fine.
    z_window
        Where the planes lie: around the plane in focus in that frame, as the statistics tell of
        the first marker, or in the middle of the stack.
    projection
        Whether the planes become one, their maximum or mean, or stay.
    bag_of_channels
        Whether a sample is one of the markers, wherever it was imaged, instead of all of them.
    """

    markers: tuple[str, ...]
    size: tuple[int, int]
    depth: int = 1
    reference_pixel_size_um: float | None = None
    z_window: Literal["focus", "center"] = "focus"
    projection: Literal["none", "max", "mean"] = "none"
    bag_of_channels: bool = False


class CellReader:
    """Reads the patches of index rows from the plates of several experiments.

    It pickles small if the index is mapped from a file: no array has an entry for every row.

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
    stores : Path, optional
        Folder that may hold ``<experiment>/patches.zarr``: what can be read from there is, as long
        as ``patches.json`` beside it says that it is asked for, and index, statistics and plate are
        those that it was made of.

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
        stores: Path | None = None,
    ) -> None:
        self.index = index
        self.patches = patches
        self.extraction_size = tuple(extraction_size or patches.size)
        runs = FovRuns(index)
        self._first_row = runs.start
        places = list(zip(runs.experiment, runs.fov, strict=True))
        _tell_absent_markers(patches.markers, registry)
        plates = {name: Plate(registry[name].data_path) for name in dict(places)}
        positions = [plates[name].positions[fov] for name, fov in places]
        _tell_uneven_pixels(places, positions, registry)
        sources, self._factor = patch_sources(
            places, positions, registry, patches, self.extraction_size
        )
        spans = _spans(places, runs.start, len(index))
        found = _current_stores(stores, spans, plates) if stores is not None else {}
        sources, self._stores, self._store_of = _with_stores(
            sources, places, spans, found, patches, normalization
        )
        self.patch_sizes = {
            place: _native_size(registry[place[0]], position, 0, patches)
            for place, position in zip(places, positions, strict=True)
        }
        self.image_shapes = {
            place: position.shape[-2:] for place, position in zip(places, positions, strict=True)
        }
        self._present = np.array([source.channels for source in sources]) >= 0
        self._reader = PatchReader(sources, patches.depth, cache_bytes, "native")
        self._center, self._spread = normalizers(
            places, registry, patches.markers, statistics, normalization
        )
        for number in np.flatnonzero(self._store_of >= 0):
            store = self._stores[self._store_of[number]][0]
            if store.facts.normalization is not None:
                self._center[number][:, self._present[number]] = store.decoding[0]
                self._spread[number][:, self._present[number]] = store.decoding[1]
        planes = np.array([position.shape[2] for position in positions])
        self._first_plane = None
        if patches.z_window == "focus" and (planes > patches.depth).any():
            leading = leading_markers(places, registry, patches.markers)
            self._first_plane = first_planes(places, leading, statistics, planes, patches.depth)

    def __getstate__(self) -> dict[str, Any]:
        # What is known of each field of view by name serves the selection of anchors alone.
        return self.__dict__ | {"patch_sizes": {}, "image_shapes": {}}

    @property
    def patch_bytes(self) -> int:
        """Size of the largest patch as it is read from a plate or store."""
        n_channels = 1 if self.patches.bag_of_channels else len(self.patches.markers)
        return n_channels * self._reader.channel_bytes

    def prepare_for_pass(self) -> None:
        """See `dynaclr.data.pixels.patch_reader.PatchReader.prepare_for_pass`."""
        self._reader.prepare_for_pass()

    def marker_pairs(self, rows: NDArray[np.int64]) -> MarkerPairs:
        """Number the pairs of index rows and those of the markers that were imaged there.

        Parameters
        ----------
        rows : NDArray of int, shape (n,)
            Ascending.
        """
        fov = np.searchsorted(self._first_row, rows, side="right") - 1
        return MarkerPairs(rows, fov, self._present, list(self.patches.markers))

    def read(
        self,
        rows: NDArray[np.int64],
        markers: NDArray[np.int64] | None = None,
        damaged: NDArray[np.bool_] | None = None,
    ) -> dict[str, Tensor]:
        """Read the patches of index rows.

        Parameters
        ----------
        rows : NDArray of int, shape (B,)
        markers : NDArray of int, shape (B,), optional
            For a bag of channels: which of the markers each patch shows.
        damaged : NDArray of bool, shape (B,), optional
            Where it is given, patches that cannot be read are flagged in it instead of ending the
            call.

        Returns
        -------
        dict
            ``patch`` (B, C, Z, Y, X) as stored in the plates, of their type where they share one,
            and ``center``, ``spread`` (B, C) float32 to normalize it with. ``present`` (B, C)
            bool: whether the channel was imaged; it is zero where not. Where experiments are
            resampled, ``extent`` (B, 2, 2): rows and columns of `patch` that are the patch, and
            those that `at_common_size` brings them to.

        Raises
        ------
        UserError
            When a chunk is missing or damaged, naming plate, field of view, frame and channel, or
            there is nothing to normalize a patch with.
        """
        source = np.searchsorted(self._first_row, rows, side="right") - 1
        t = self.index.column("t")[rows]
        patch = self._patches(source, t, rows, markers, damaged)
        frame = t if self._center.shape[1] > 1 else np.zeros_like(t)
        facts = {
            "center": self._center[source, frame],
            "spread": self._spread[source, frame],
            "present": self._present[source],
        }
        if markers is not None:
            chosen = markers[:, None]
            facts = {k: np.take_along_axis(v, chosen, axis=1) for k, v in facts.items()}
        unscaled = np.isnan(facts["center"]).any(axis=1)
        flag_or_refuse(unscaled, damaged, lambda row: self._unscaled(source[row], t[row]))
        sides = self._reader.sides
        if (sides != self.extraction_size).any():
            wanted = np.broadcast_to(self.extraction_size, (len(rows), 2))
            facts["extent"] = np.stack([sides[source], wanted], axis=1)
        return {name: torch.from_numpy(value) for name, value in ({"patch": patch} | facts).items()}

    def _unscaled(self, source: int, t: int) -> str:
        """What to say of a patch that there are no statistics for."""
        plate, fov = place_of(self._reader.chunks.paths[source])
        return (
            f"{plate}: frame {t} of field of view {fov} cannot be normalized: no pixel of one of "
            "its markers could be read for the statistics. Copy the plate again and run `dynaclr "
            "statistics`, or say `unreadable: skip` under `data` in the training configuration."
        )

    def _patches(
        self,
        source: NDArray,
        t: NDArray,
        rows: NDArray,
        markers: NDArray | None,
        damaged: NDArray | None,
    ) -> NDArray[Any]:
        """Patches at their native sizes, in the upper left corner where these differ."""
        where = {"source": source, "t": t}
        where |= {name: self._center_of(name, rows, source) for name in ("y", "x")}
        if self._first_plane is not None:
            where["z"] = self._first_plane[source, t]
        if markers is not None:
            where["channels"] = markers[:, None]
        if self._stores:
            where["slot"] = self._slots(rows, source)
        if damaged is not None:
            where["damaged"] = damaged
        sides = self._reader.sides[source]
        if (sides == sides[:1]).all():
            return self._projected(self._reader.read(**where))
        sizes, group = np.unique(sides, axis=0, return_inverse=True)
        parts = []
        for number in range(len(sizes)):
            own = np.flatnonzero(group.ravel() == number)
            mine = {name: values[own] for name, values in where.items()}
            parts.append((own, self._projected(self._reader.read(**mine))))
            if damaged is not None:
                damaged[own] = mine["damaged"]
        shape = (len(rows), *parts[0][1].shape[1:3], *sizes.max(axis=0))
        patch_BCZYX = np.zeros(shape, parts[0][1].dtype)
        for own, part in parts:
            patch_BCZYX[own, :, :, : part.shape[3], : part.shape[4]] = part
        return patch_BCZYX

    def _slots(self, rows: NDArray, source: NDArray) -> NDArray[np.int64]:
        """Place of each row in its experiment's patch store; -1 where it has none."""
        slot, chosen = np.full(len(rows), -1, np.int64), self._store_of[source]
        for number in np.unique(chosen[chosen >= 0]):
            store, first_row = self._stores[number]
            own = chosen == number
            slot[own] = store.slots[rows[own] - first_row]
        return slot

    def _center_of(self, axis: str, rows: NDArray, source: NDArray) -> NDArray[np.floating]:
        """Centres along an axis, in pixels of the level that the patches are cut from."""
        center = self.index.column(axis)[rows]
        if (self._factor == 1).all():
            return center
        # Pixel 0 of a level covers the first pixels of the image, whose middle is at `factor / 2`.
        return (center.astype(np.float64) + 0.5) / self._factor[source] - 0.5

    def _projected(self, patch_BCZYX: NDArray) -> NDArray:
        if self.patches.projection == "max":
            return patch_BCZYX.max(axis=2, keepdims=True)
        if self.patches.projection == "mean":
            return patch_BCZYX.mean(axis=2, keepdims=True, dtype=np.float32)
        return patch_BCZYX


def at_common_size(view: Mapping[str, Tensor]) -> Tensor:
    """Patches of several native sizes at one, resampled on the device that they are on.

    Resampling is bilinear, with antialiasing.

    Parameters
    ----------
    view : mapping
        ``patch`` and, where experiments are resampled, ``extent``, as `CellReader.read` gives them.

    Returns
    -------
    Tensor, shape (B, C, Z, Y, X)
        Float32 where experiments are resampled; else as they are.
    """
    if "extent" not in view:
        return view["patch"]
    # First of all floating point: torch indexes no unsigned 16-bit numbers on a GPU.
    native_BCZYX, (native, wanted) = view["patch"].float(), view["extent"].unbind(dim=1)
    size = tuple(wanted[0].tolist())
    out = native_BCZYX.new_empty((*native_BCZYX.shape[:3], *size))
    for height, width in torch.unique(native, dim=0).tolist():
        own = (native == native.new_tensor([height, width])).all(dim=1)
        part = native_BCZYX[own][..., :height, :width]
        out[own] = part if (height, width) == size else _resample(part, size)
    return out


def _resample(native_BCZYX: Tensor, size: tuple[int, int]) -> Tensor:
    b, c, z = native_BCZYX.shape[:3]
    resampled = torch.nn.functional.interpolate(
        native_BCZYX.flatten(1, 2), size, mode="bilinear", antialias=True, align_corners=False
    )
    return resampled.reshape(b, c, z, *size)


def _tell_absent_markers(
    markers: tuple[str, ...], registry: Mapping[str, ExperimentConfig]
) -> None:
    for name, entry in registry.items():
        check_some_marker(markers, name, entry)
        absent = [marker for marker in markers if marker not in entry.markers]
        if absent:
            log.warning("experiment %s: no %s; filled with zeros", name, ", ".join(absent))
        for marker in (m for m in markers if m in entry.markers):
            wells = [w for w in entry.condition_of_well if not entry.has_marker(marker, w)]
            if wells:
                told = name, marker, ", ".join(sorted(wells))
                log.info("experiment %s: no %s in wells %s; filled with zeros", *told)


def _tell_uneven_pixels(
    places: list[Place], positions: list[Position], registry: Mapping[str, ExperimentConfig]
) -> None:
    uneven = {
        name: position.levels[0].scale[3:]
        for (name, _), position in zip(places, positions, strict=True)
        if registry[name].pixel_size_um is None
        and not math.isclose(*position.levels[0].scale[3:], rel_tol=1e-3)
    }
    for name, (height, width) in uneven.items():
        log.warning(
            "experiment %s: pixels are %g um high but %g um wide; the height is taken for both",
            *(name, height, width),
        )


def _spans(
    places: list[Place], first_row: NDArray[np.int64], n_rows: int
) -> dict[str, tuple[int, int]]:
    """First row of each experiment, and the one behind its last."""
    spans: dict[str, tuple[int, int]] = {}
    ends = np.append(first_row[1:], n_rows)
    for (name, _), begin, end in zip(places, first_row.tolist(), ends.tolist(), strict=True):
        spans[name] = spans.get(name, (begin, end))[0], end
    return spans


def _current_stores(
    folder: Path, spans: Mapping[str, tuple[int, int]], plates: Mapping[str, Plate]
) -> dict[str, PatchStore]:
    """Patch stores of experiments that are asked for and of what is there now."""
    stores = {}
    for name, (begin, end) in spans.items():
        store = find_store(folder / name)
        if store is None:
            continue
        outdated = store.outdated(plates[name].digest(), end - begin)
        if outdated:
            log.warning("%s is not used: %s", store.path, outdated)
            continue
        stores[name] = store
    return stores


def _with_stores(
    sources: list[PatchSource],
    places: list[Place],
    spans: Mapping[str, tuple[int, int]],
    found: Mapping[str, PatchStore],
    patches: PatchConfig,
    normalization: NormalizationConfig,
) -> tuple[list[PatchSource], list[tuple[PatchStore, int]], NDArray[np.int64]]:
    """Let sources read from patch stores where these hold what is needed.

    Returns
    -------
    sources : list of PatchSource
    stores : list of (PatchStore, int)
        With the first row of their experiment.
    store_of : NDArray of int
        Number of each source's store; -1 for none.
    """
    stores: list[tuple[PatchStore, int]] = []
    store_of = np.full(len(sources), -1)
    for name, store in found.items():
        own = [number for number, place in enumerate(places) if place[0] == name]
        window = patches.depth, patches.z_window
        lacks = {
            store.lacks(sources[number], patches.markers, *window, normalization) for number in own
        } - {""}
        if lacks:
            log.warning("%s is not used: %s", store.path, "; ".join(sorted(lacks)))
            continue
        store_of[own] = len(stores)
        stores.append((store, spans[name][0]))
        for number in own:
            crops = store.crops(sources[number], patches.markers)
            sources[number] = replace(sources[number], crops=crops)
    return sources, stores, store_of


def patch_sources(
    places: list[Place],
    positions: list[Position],
    registry: Mapping[str, ExperimentConfig],
    patches: PatchConfig,
    extraction_size: tuple[int, int],
) -> tuple[list[PatchSource], NDArray[np.float64]]:
    """How patches are cut from each field of view, and its level's pixels in those of level 0."""
    sources, factors = [], []
    for (name, fov), position in zip(places, positions, strict=True):
        entry = registry[name]
        channels = tuple(
            position.channels.index(entry.channel_name(marker))
            if entry.has_marker(marker, position.well)
            else -1
            for marker in patches.markers
        )
        level = _level(entry, position, patches.reference_pixel_size_um)
        size = _native_size(entry, position, level, patches)
        scale = _scale(entry, position, level, patches)
        margin = tuple(
            round(whole * scale) - kept for whole, kept in zip(extraction_size, size, strict=True)
        )
        start = depth_window(position.shape[2], patches.depth, f"{position.path}: {fov}")
        sources.append(
            PatchSource(position, channels, size, start, margin, level, entry.empty_chunks)
        )
        factors.append(_shrinkage(position, level))
    return sources, np.array(factors)


def _level(entry: ExperimentConfig, position: Position, wanted_um: float | None) -> int:
    """Coarsest resolution level that is at least as fine as wanted."""
    if wanted_um is None:
        return 0
    pixel = entry.pixel_size_um or position.pixel_size_um
    fine_enough = [
        number
        for number, level in enumerate(position.levels)
        # Levels that are coarser in y alone, or in depth too, are no smaller copies of the image.
        if level.scale[2] == position.levels[0].scale[2]
        and math.isclose(level.scale[4], position.levels[0].scale[4] * _shrinkage(position, number))
        and _shrinkage(position, number) * pixel <= wanted_um * (1 + 1e-6)
    ]
    return max(fine_enough, key=lambda number: _shrinkage(position, number), default=0)


def _shrinkage(position: Position, level: int) -> float:
    return position.levels[level].scale[3] / position.levels[0].scale[3]


def _scale(entry: ExperimentConfig, position: Position, level: int, patches: PatchConfig) -> float:
    """Pixels of a resolution level in a pixel of a patch."""
    pixel = (entry.pixel_size_um or position.pixel_size_um) * _shrinkage(position, level)
    return (patches.reference_pixel_size_um or pixel) / pixel


def _native_size(
    entry: ExperimentConfig, position: Position, level: int, patches: PatchConfig
) -> tuple[int, int]:
    """Extent (y, x) of a patch in pixels of a resolution level."""
    scale = _scale(entry, position, level, patches)
    return tuple(round(extent * scale) for extent in patches.size)
