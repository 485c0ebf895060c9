"""Size of patches, and their position on the plate."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.pixels.patch_reader import depth_window
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.fovs import FovRuns
from dynaclr.io import Plate, Position

log = logging.getLogger(__name__)

# Experiment and name of a field of view.
FovName = tuple[str, str]


@dataclass(frozen=True)
class PatchConfig:
    """What is read around each observation.

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
        are resampled to ``size``; else they have ``size`` native pixels. They are read from the
        coarsest resolution level of the plate that is at least as fine.
    z_window
        Where the planes lie: around the plane in focus in that frame, by the statistics of the
        first marker, or in the middle of the stack.
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


class FieldsOfView:
    """The fields of view of an index, found on their plates.

    Parameters
    ----------
    index : MultiExperimentIndex
    registry : mapping of str to ExperimentConfig
        The experiments by name; must hold those of the index.

    Attributes
    ----------
    index : MultiExperimentIndex
    names : list of (experiment, fov)
        In the order of the index's rows.
    first_row : NDArray of int, shape (F,)
        First row of each field of view.
    entries : list of ExperimentConfig
        Entry of each one's experiment.
    positions : list of Position
    plates : dict of str to Plate
        By experiment.

    Raises
    ------
    UserError
        When a plate is not as it was when it was indexed.
    """

    def __init__(
        self, index: MultiExperimentIndex, registry: Mapping[str, ExperimentConfig]
    ) -> None:
        runs = FovRuns(index)
        self.index = index
        self.first_row = runs.start
        self.names: list[FovName] = list(zip(runs.experiment, runs.fov, strict=True))
        self.entries = [registry[experiment] for experiment, _ in self.names]
        self.plates = {name: Plate.of(registry[name]) for name in dict(self.names)}
        self.positions = _positions_as_indexed(self)
        _warn_of_uneven_pixels(self)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_planes(self) -> NDArray[np.int64]:
        """Planes of each stack, shape (F,)."""
        return np.array([position.shape[2] for position in self.positions])

    @property
    def image_shapes(self) -> dict[FovName, tuple[int, int]]:
        """Height and width of each image, in pixels of the finest level."""
        return {
            name: (position.shape[3], position.shape[4])
            for name, position in zip(self.names, self.positions, strict=True)
        }

    def patch_sizes(self, patches: PatchConfig) -> dict[FovName, tuple[int, int]]:
        """Height and width of patches, in pixels of the finest level, without a margin."""
        return {
            name: _native_size(entry, position, 0, patches)
            for name, entry, position in zip(self.names, self.entries, self.positions, strict=True)
        }

    def present(self, markers: tuple[str, ...]) -> NDArray[np.bool_]:
        """Whether each field of view has each marker, shape (F, C)."""
        return np.array(
            [
                [entry.has_marker(marker, position.well) for marker in markers]
                for entry, position in zip(self.entries, self.positions, strict=True)
            ]
        )

    def row_spans(self) -> dict[str, tuple[int, int]]:
        """First row of each experiment, and the one after its last."""
        spans: dict[str, tuple[int, int]] = {}
        ends = np.append(self.first_row[1:], len(self.index))
        for (name, _), begin, end in zip(
            self.names, self.first_row.tolist(), ends.tolist(), strict=True
        ):
            spans[name] = spans.get(name, (begin, end))[0], end
        return spans


def patch_sources(
    fields: FieldsOfView, patches: PatchConfig, extraction_size: tuple[int, int]
) -> list[PatchSource]:
    """How the patches of each field of view are read from its plate.

    Parameters
    ----------
    fields : FieldsOfView
    patches : PatchConfig
    extraction_size : tuple of int
        Extent (y, x) that is read, at least that of the patches.

    Raises
    ------
    UserError
        When a stack has too few planes.
    """
    sources = []
    for (_, fov), entry, position in zip(
        fields.names, fields.entries, fields.positions, strict=True
    ):
        channels = tuple(
            position.channel_number(entry.channel_name(marker))
            if entry.has_marker(marker, position.well)
            else -1
            for marker in patches.markers
        )
        level = _level(entry, position, patches.reference_pixel_size_um)
        size = _native_size(entry, position, level, patches)
        scale = _scale(entry, position, level, patches)
        margin = (
            round(extraction_size[0] * scale) - size[0],
            round(extraction_size[1] * scale) - size[1],
        )
        start = depth_window(position.shape[2], patches.depth, f"{position.path}: {fov}")
        sources.append(
            PatchSource(position, channels, size, start, margin, level, entry.empty_chunks)
        )
    return sources


def level_factors(sources: list[PatchSource]) -> NDArray[np.float64]:
    """Pixels of the finest level along a pixel of each source's level, shape (F,)."""
    return np.array([_shrinkage(source.position, source.level) for source in sources])


def center_at_level(center: NDArray[Any], factor: NDArray[np.float64] | float) -> NDArray[Any]:
    """Centres along an axis, from pixels of the finest level to those of a coarser one.

    Parameters
    ----------
    center : NDArray of float, shape (B,)
    factor : float or NDArray of float, shape (B,)
        From `level_factors`.
    """
    if np.all(factor == 1):
        return center
    # Pixel 0 of a level covers the first pixels of the image, whose middle is at `factor / 2`.
    return (center.astype(np.float64) + 0.5) / factor - 0.5


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
    return round(patches.size[0] * scale), round(patches.size[1] * scale)


def _positions_as_indexed(fields: FieldsOfView) -> list[Position]:
    """Fields of view of an index on their plates, none gone or of another shape since."""
    shapes, positions = fields.index.plate_shapes, []
    for name, fov in fields.names:
        plate = fields.plates[name]
        position, what = plate.positions.get(fov), "is not used or not there any more"
        if position is not None:
            positions.append(position)
            indexed = shapes.get((name, fov), position.shape)
            if indexed == position.shape:
                continue
            before, now = (" x ".join(map(str, shape)) for shape in (indexed, position.shape))
            what = f"had {before} pixels (t, c, z, y, x) when it was indexed and now has {now}"
        raise UserError(
            f"{plate.path}: field of view {fov} {what}. Run `dynaclr index` for experiment {name} "
            "again, then the stages that use it."
        )
    return positions


def _warn_of_uneven_pixels(fields: FieldsOfView) -> None:
    uneven = {
        entry.name: position.levels[0].scale[3:]
        for entry, position in zip(fields.entries, fields.positions, strict=True)
        if entry.pixel_size_um is None
        and not math.isclose(*position.levels[0].scale[3:], rel_tol=1e-3)
    }
    for name, (height, width) in uneven.items():
        log.warning(
            "experiment %s: pixels are %g um high but %g um wide; the height is used for both",
            *(name, height, width),
        )
