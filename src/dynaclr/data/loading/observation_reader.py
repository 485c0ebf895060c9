"""Reader of normalized patches by index row."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.data.loading.checks import check_some_marker
from dynaclr.data.patch_store.reader import PatchStore, attach_stores
from dynaclr.data.pixels.patch_geometry import (
    FieldsOfView,
    PatchConfig,
    center_at_level,
    level_factors,
    patch_sources,
)
from dynaclr.data.pixels.patch_reader import PatchReader
from dynaclr.data.pixels.unreadable import flag_or_raise, plate_and_fov
from dynaclr.data.statistics.focus import first_planes, leading_markers
from dynaclr.data.statistics.normalization import NormalizationConfig, normalizers
from dynaclr.index.markers import MarkerPairs

log = logging.getLogger(__name__)


class ObservationReader:
    """Reads the patches of index rows from the plates, or patch stores, of several experiments.

    It pickles small if the index is mapped from a file: no array has an entry for every row.

    Parameters
    ----------
    fields : FieldsOfView
        Fields of view of the index that rows are numbers into.
    statistics : DataFrame
        Rows of `dynaclr.data.compute_statistics` for these experiments.
    patches : PatchConfig
    normalization : NormalizationConfig
    cache_bytes : int
        Most bytes of decoded chunks to keep in this process.
    extraction_size : tuple of int, optional
        Extent (y, x) that is read around each patch, a margin for augmentation; default: none.
    stores : Path, optional
        Folder that may hold ``<experiment>/patches.zarr``. A store is read instead of the plate if
        ``patches.json`` beside it says that it is asked for, and it was made from the present
        index, statistics and plate.

    Raises
    ------
    UserError
        When no experiment has any of the markers, an image is smaller than a patch, or statistics
        are missing.
    """

    def __init__(
        self,
        fields: FieldsOfView,
        statistics: pd.DataFrame,
        patches: PatchConfig,
        normalization: NormalizationConfig,
        cache_bytes: int = 256 << 20,
        extraction_size: tuple[int, int] | None = None,
        stores: Path | None = None,
    ) -> None:
        self.index = fields.index
        self.patches = patches
        height, width = extraction_size or patches.size
        self.extraction_size = height, width
        self._first_row = fields.first_row
        _log_absent_markers(patches.markers, fields)
        sources = patch_sources(fields, patches, self.extraction_size)
        self._factor = level_factors(sources)
        self._center, self._spread = normalizers(fields, patches.markers, statistics, normalization)
        self._present = np.array([source.channels for source in sources]) >= 0
        self._stores: list[tuple[PatchStore, int]] = []
        self._store_of = np.full(len(sources), -1)
        if stores is not None:
            sources, self._stores, self._store_of = attach_stores(
                sources, fields, stores, patches, normalization
            )
        for number in np.flatnonzero(self._store_of >= 0):
            store = self._stores[self._store_of[number]][0]
            if store.facts.normalization is not None:
                self._center[number][:, self._present[number]] = store.decoding[0]
                self._spread[number][:, self._present[number]] = store.decoding[1]
        self._reader = PatchReader(sources, patches.depth, cache_bytes, "native")
        self._first_plane = None
        if patches.z_window == "focus" and (fields.n_planes > patches.depth).any():
            leading = leading_markers(fields, patches.markers)
            self._first_plane = first_planes(fields, leading, statistics, patches.depth)

    @property
    def patch_bytes(self) -> int:
        """Size of the largest patch as it is read from a plate or store."""
        n_channels = 1 if self.patches.bag_of_channels else len(self.patches.markers)
        return n_channels * self._reader.channel_bytes

    def keep_frames(self) -> None:
        """See `dynaclr.data.pixels.patch_reader.PatchReader.keep_frames`."""
        self._reader.keep_frames()

    def marker_pairs(self, rows: NDArray[np.int64]) -> MarkerPairs:
        """Number the pairs of index rows and those of the markers that were imaged there.

        Parameters
        ----------
        rows : NDArray of int, shape (n,)
            Ascending.
        """
        return MarkerPairs(rows, self._source_of(rows), self._present, list(self.patches.markers))

    def _source_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of each row's field of view."""
        return np.searchsorted(self._first_row, rows, side="right") - 1

    def read(
        self,
        rows: NDArray[np.int64],
        markers: NDArray[np.int64] | None = None,
        unreadable: NDArray[np.bool_] | None = None,
    ) -> dict[str, Tensor]:
        """Read the patches of index rows.

        Parameters
        ----------
        rows : NDArray of int, shape (B,)
        markers : NDArray of int, shape (B,), optional
            For a bag of channels: which of the markers each patch shows.
        unreadable : NDArray of bool, shape (B,), optional
            Where it is given, patches that cannot be read are flagged in it instead of raising an
            error.

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
        source = self._source_of(rows)
        t = self.index.column("t")[rows]
        patch = self._patches(source, t, rows, markers, unreadable)
        frame = t if self._center.shape[1] > 1 else np.zeros_like(t)
        facts: dict[str, NDArray[Any]] = {
            "center": self._center[source, frame],
            "spread": self._spread[source, frame],
            "present": self._present[source],
        }
        if markers is not None:
            chosen = markers[:, None]
            facts = {k: np.take_along_axis(v, chosen, axis=1) for k, v in facts.items()}
        unscaled = np.isnan(facts["center"]).any(axis=1)
        flag_or_raise(unscaled, unreadable, lambda row: self._unscaled(source[row], t[row]))
        sides = self._reader.sides
        if (sides != self.extraction_size).any():
            wanted = np.broadcast_to(self.extraction_size, (len(rows), 2))
            facts["extent"] = np.stack([sides[source], wanted], axis=1)
        return {name: torch.from_numpy(value) for name, value in ({"patch": patch} | facts).items()}

    def _unscaled(self, source: int, t: int) -> str:
        """Message about a patch that there are no statistics for."""
        plate, fov = plate_and_fov(self._reader.chunks.paths[source])
        return (
            f"{plate}: frame {t} of field of view {fov} cannot be normalized: no pixel of one of "
            "its markers could be read for the statistics. Copy the plate again and run `dynaclr "
            "statistics`, or say `unreadable: skip` under `data` in the training configuration."
        )

    def _patches(
        self,
        source: NDArray[np.int64],
        t: NDArray[Any],
        rows: NDArray[np.int64],
        markers: NDArray[np.int64] | None,
        unreadable: NDArray[np.bool_] | None,
    ) -> NDArray[Any]:
        """Patches at their native sizes, in the upper left corner where these differ."""
        where: dict[str, NDArray[Any]] = {"source": source, "t": t}
        for axis in ("y", "x"):
            where[axis] = center_at_level(self.index.column(axis)[rows], self._factor[source])
        if self._first_plane is not None:
            where["z"] = self._first_plane[source, t]
        if markers is not None:
            where["channels"] = markers[:, None]
        if self._stores:
            where["slot"] = self._slots(rows, source)
        if unreadable is not None:
            where["unreadable"] = unreadable
        sides = self._reader.sides[source]
        if (sides == sides[:1]).all():
            return self._projected(self._reader.read(**where))
        sizes, group = np.unique(sides, axis=0, return_inverse=True)
        parts = []
        for number in range(len(sizes)):
            own = np.flatnonzero(group.ravel() == number)
            part = {name: values[own] for name, values in where.items()}
            parts.append((own, self._projected(self._reader.read(**part))))
            if unreadable is not None:
                unreadable[own] = part["unreadable"]
        shape = (len(rows), *parts[0][1].shape[1:3], *sizes.max(axis=0))
        patch_BCZYX = np.zeros(shape, parts[0][1].dtype)
        for own, pixels in parts:
            patch_BCZYX[own, :, :, : pixels.shape[3], : pixels.shape[4]] = pixels
        return patch_BCZYX

    def _slots(self, rows: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of each row's crop in its experiment's patch store; -1 where it has none."""
        slot, chosen = np.full(len(rows), -1, np.int64), self._store_of[source]
        for number in np.unique(chosen[chosen >= 0]):
            store, first_row = self._stores[number]
            own = chosen == number
            slot[own] = store.slots[rows[own] - first_row]
        return slot

    def _projected(self, patch_BCZYX: NDArray[Any]) -> NDArray[Any]:
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
        ``patch`` and, where experiments are resampled, ``extent``, as `ObservationReader.read`
        gives them.

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


def _log_absent_markers(markers: tuple[str, ...], fields: FieldsOfView) -> None:
    """Say which markers are filled with zeros; an experiment without any is an error."""
    for name, entry in {entry.name: entry for entry in fields.entries}.items():
        check_some_marker(markers, name, entry)
        absent = [marker for marker in markers if marker not in entry.markers]
        if absent:
            log.warning("experiment %s: no %s; filled with zeros", name, ", ".join(absent))
        for marker in (m for m in markers if m in entry.markers):
            wells = [w for w in entry.condition_of_well if not entry.has_marker(marker, w)]
            if wells:
                log.info(
                    "experiment %s: no %s in wells %s; filled with zeros",
                    *(name, marker, ", ".join(sorted(wells))),
                )
