"""One field of view of an OME-Zarr plate, read from its metadata alone (NGFF 0.1 to 0.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaclr.config.errors import UserError, did_you_mean
from dynaclr.io.array_layout import ALL_AXES, ArrayLayout, layout_of
from dynaclr.io.length_units import micrometres_of
from dynaclr.io.zarr_metadata import ngff_attributes, read_array_metadata

_AXES = ("t", "c", "z", "y", "x")
# Axes whose type says what they are, whatever their name.
_TYPES = {"time": "t", "channel": "c"}
# What documents raise where they have another form than NGFF says.
MALFORMED = (LookupError, TypeError, AttributeError, ValueError, OverflowError)


class UnknownChannel(LookupError):
    """A name that stands for no channel, or for several.

    Attributes
    ----------
    what, fix : str
        What is wrong and what to do.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


@dataclass(frozen=True)
class Level:
    """One resolution level of a field of view.

    Attributes
    ----------
    path : Path
        Folder of the array.
    scale : tuple of float
        Size of one step along (t, c, z, y, x); z, y and x in micrometres where the plate says so.
    """

    path: Path
    scale: tuple[float, ...]


@dataclass(frozen=True)
class Position:
    """One field of view: its channels and arrays.

    Attributes
    ----------
    name : str
        ``row/column/fov``, for example ``A/1/0``.
    path : Path
        Its folder.
    labels : tuple of str
        Names that the plate gives to its channels; empty for one without.
    levels : tuple of Level
        Resolution levels, finest first.
    axes : tuple of int
        Which of (t, c, z, y, x) the arrays' axes are.
    size_unknown : str
        Why the pixel size is not known in micrometres; empty where it is.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    levels: tuple[Level, ...]
    axes: tuple[int, ...] = ALL_AXES
    size_unknown: str = ""

    @property
    def well(self) -> str:
        """``row/column`` of the well that holds this field of view."""
        return self.name.rsplit("/", 1)[0]

    @cached_property
    def array_metadata(self) -> dict[str, Any]:
        """Metadata document of the finest level's array."""
        return read_array_metadata(self.levels[0].path)

    @cached_property
    def _finest(self) -> ArrayLayout:
        return self._layout(0)

    def layout(self, level: int = 0) -> ArrayLayout:
        """Layout of the array of a resolution level.

        Raises
        ------
        UserError
            When the array uses something that cannot be read.
        """
        return self._finest if level == 0 else self._layout(level)

    def _layout(self, level: int) -> ArrayLayout:
        path = self.levels[level].path
        try:
            metadata = read_array_metadata(path) if level else self.array_metadata
            layout = layout_of(metadata, self.axes)
            if layout.codecs and not layout.is_blosc:
                layout.decoders()  # An unknown codec is an error here.
            return layout
        except MALFORMED as error:
            raise unusable(path, self.name, reason_of(error)) from None

    @property
    def zarr_format(self) -> int:
        """Zarr format of the arrays, 2 or 3."""
        return int(self.array_metadata["zarr_format"])

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Extent (T, C, Z, Y, X) of the finest level, in pixels."""
        t, c, z, y, x = self._finest.shape
        return t, c, z, y, x

    @property
    def chunk(self) -> tuple[int, ...]:
        """Extent of a chunk of the finest level, inside shards where it has any, in pixels."""
        return self._finest.chunk

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Channel names along the array's axis, or numbers where the plate's names do not fit."""
        labels = self.labels if len(self.labels) == self.shape[1] else [""] * self.shape[1]
        return tuple(label or str(number) for number, label in enumerate(labels))

    @property
    def pixel_size_um(self) -> float:
        """Pixel size along y of the finest level, in micrometres."""
        return self.levels[0].scale[3]

    def find_channel(self, name: str) -> int:
        """Number of a channel, by its name or, where none has that name, by its number.

        Raises
        ------
        UnknownChannel
            When there is no such channel, or several have that name.
        """
        found = [number for number, channel in enumerate(self.channels) if channel == name]
        if len(found) == 1:
            return found[0]
        by_number = "Choose by number: " + " or ".join(
            f"`name: {number}`" for number in found or range(len(self.channels))
        )
        if found:
            raise UnknownChannel(f"{len(found)} channels are called {name!r}", by_number)
        if name.isascii() and name.isdecimal() and int(name) < len(self.channels):
            return int(name)
        if len(self.labels) != len(self.channels):
            names = f"The plate names {len(self.labels)} channels, the array has {self.shape[1]}"
            raise UnknownChannel(f"no channel {name!r}", f"{names}. {by_number}")
        raise UnknownChannel(f"no channel {name!r}", did_you_mean(name, self.channels))

    def channel_number(self, name: str) -> int:
        """As `find_channel`, with an error for users.

        Raises
        ------
        UserError
        """
        try:
            return self.find_channel(name)
        except UnknownChannel as error:
            where = f"{self.path}: field of view {self.name}"
            raise UserError(f"{where}: {error.what}. {error.fix}.") from None


def read_position(plate: Path, name: str) -> Position:
    """One field of view (``row/column/fov``) of a plate; the others are not read.

    Parameters
    ----------
    plate : Path
    name : str

    Raises
    ------
    UserError
        When its metadata are not complete, or its array uses something that cannot be read.
    """
    path = plate / name
    try:
        attributes = ngff_attributes(path)
        image = attributes["multiscales"][0]
        # NGFF before 0.3 has these five alone.
        given = [_Axis.of(axis) for axis in image.get("axes", _AXES)]
        axes = _checked_axes(given)
        levels = [
            Level(path / str(dataset["path"]), _scale(image, dataset, given))
            for dataset in image["datasets"]
        ]
        omero = attributes.get("omero") or {}
        labels = tuple(str(one.get("label") or "") for one in omero.get("channels", []))
        unit = given[axes.index(3)].unit
        position = Position(name, path, labels, tuple(levels), axes, _size_unknown(unit, levels[0]))
        # A field of view that cannot be read is found here, not when its pixels are asked for.
        position.layout()
    except MALFORMED as error:
        raise unusable(path, name, reason_of(error)) from None
    return position


@dataclass(frozen=True)
class _Axis:
    """An axis as the plate describes it; NGFF 0.3 gives its name alone."""

    name: str
    unit: str = ""

    @classmethod
    def of(cls, given: Any) -> _Axis:
        if isinstance(given, str):
            return cls(given.lower())
        name = str(given["name"]).lower()
        return cls(_TYPES.get(given.get("type", ""), name), str(given.get("unit") or ""))

    @property
    def micrometres(self) -> float:
        """Micrometres of a step along an axis in space; else, and where it is not known, 1."""
        return (self.name in "zyx" and micrometres_of(self.unit)) or 1.0


def _checked_axes(given: list[_Axis]) -> tuple[int, ...]:
    names = [axis.name for axis in given]
    if not {"y", "x"} <= set(names) <= set(_AXES) or len(set(names)) < len(names):
        raise ValueError(f"its axes are {', '.join(names)}; y, x and any of t, c, z are needed")
    return tuple(map(_AXES.index, names))


def _scale(image: dict[str, Any], dataset: dict[str, Any], given: list[_Axis]) -> tuple[float, ...]:
    """Size of a step along (t, c, z, y, x) of a level, in micrometres along the last three."""
    scale = dict.fromkeys(_AXES, 1.0)
    scale |= {axis.name: axis.micrometres for axis in given}
    for transform in (
        *image.get("coordinateTransformations", []),
        *dataset.get("coordinateTransformations", []),
    ):
        if transform["type"] == "scale":
            if len(transform["scale"]) != len(given):
                raise ValueError(f"its scale is {transform['scale']} for {len(given)} axes")
            for axis, value in zip(given, transform["scale"], strict=True):
                scale[axis.name] *= float(value)
    if not (0 < scale["y"] < math.inf and 0 < scale["x"] < math.inf):
        raise ValueError(f"the size of its pixels is {scale['y']} x {scale['x']}")
    return tuple(scale.values())


def _size_unknown(unit: str, level: Level) -> str:
    if micrometres_of(unit):
        return ""
    kind = f"in {unit!r}, which is no known unit" if unit else "without a unit"
    return f"the plate gives its pixels a size of {level.scale[3]:g} {kind}"


def reason_of(error: Exception) -> str:
    """What a document lacks, or what is wrong in it."""
    if isinstance(error, KeyError):
        return f"{error} is not in its metadata"
    if isinstance(error, ValueError):
        return str(error)
    return f"its metadata are malformed ({error})"


def unusable(path: Path, name: str, reason: str) -> UserError:
    """Error for a field of view that cannot be read."""
    return UserError(
        f"{path}: field of view {name} cannot be used: {reason}. "
        "Correct the plate, or leave it out: name it under `exclude_fovs` of the entry."
    )
