"""What an OME-Zarr plate holds, read from its metadata alone (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3).

Planning reads the metadata of a thousand plates, so this is JSON and the standard library: to
import iohub's metadata classes alone takes two seconds, and opening positions with them takes
milliseconds each. Pixels are read elsewhere.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaclr.config.errors import UserError
from dynaclr.io.artifacts import digest_json
from dynaclr.io.file_cache import read_cached

_AXES = ("t", "c", "z", "y", "x")
# Names of metadata files of Zarr 3 and 2; where there are both, the newer format's counts.
_GROUP, _ARRAY = ("zarr.json", ".zattrs"), ("zarr.json", ".zarray")


@dataclass(frozen=True)
class Level:
    """One resolution level of a field of view.

    Attributes
    ----------
    path : Path
        Folder of the array.
    scale : tuple of float
        Size of one step along (t, c, z, y, x); y and x in micrometres where the plate says so.
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
    channels : tuple of str
        Channel names in the order of the array's channel axis.
    levels : tuple of Level
        Resolution levels, finest first.
    """

    name: str
    path: Path
    channels: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def well(self) -> str:
        """``row/column`` of the well that holds this field of view."""
        return self.name.rsplit("/", 1)[0]

    @cached_property
    def array_metadata(self) -> dict[str, Any]:
        """Metadata document of the finest level's array."""
        return read_array_metadata(self.levels[0].path)

    @property
    def zarr_format(self) -> int:
        """Zarr format of the arrays, 2 or 3."""
        return int(self.array_metadata["zarr_format"])

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Extent (T, C, Z, Y, X) of the finest level, in pixels."""
        return tuple(self.array_metadata["shape"])

    @property
    def chunk(self) -> tuple[int, ...]:
        """Extent of a chunk of the finest level, inside shards where it has any, in pixels."""
        array = self.array_metadata
        if "chunks" in array:
            return tuple(array["chunks"])
        codec = array["codecs"][0]
        grid = codec if codec["name"] == "sharding_indexed" else array["chunk_grid"]
        return tuple(grid["configuration"]["chunk_shape"])

    @property
    def pixel_size_um(self) -> float:
        """Pixel size along y of the finest level, in micrometres."""
        return self.levels[0].scale[3]


class Plate:
    """Metadata of an HCS OME-Zarr plate.

    Parameters
    ----------
    path : str or Path
        Root folder of the plate. It is never written to.

    Raises
    ------
    UserError
        When the folder is missing, is no HCS plate, or a listed field of view is broken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such plate. Correct `data_path`.")
        plate = _ngff_attributes(self.path).get("plate")
        if plate is None:
            raise UserError(
                f"{self.path}: no OME-Zarr plate (HCS layout) metadata here. "
                "Give the plate's root folder as `data_path`."
            )
        self._wells: list[str] = [well["path"] for well in plate["wells"]]

    def __repr__(self) -> str:
        return f"Plate({str(self.path)!r}, {len(self.positions)} fields of view)"

    @cached_property
    def positions(self) -> dict[str, Position]:
        """Fields of view by name (``row/column/fov``), in sorted order."""
        names = []
        for well in self._wells:
            attributes = _ngff_attributes(self.path / well)
            if "well" not in attributes:
                raise UserError(
                    f"{self.path}: well {well} is listed but has no metadata. Copy the plate again."
                )
            names += [f"{well}/{image['path']}" for image in attributes["well"]["images"]]
        return {name: read_position(self.path, name) for name in sorted(names)}

    @property
    def wells(self) -> list[str]:
        """Wells (``row/column``) that the plate lists, sorted."""
        return sorted(self._wells)

    @cached_property
    def channels(self) -> list[str]:
        """Channel names of the plate, in order of first appearance."""
        return list(dict.fromkeys(c for p in self.positions.values() for c in p.channels))

    @property
    def metadata_files(self) -> list[Path]:
        """Files that hold the metadata."""
        positions = self.positions.values()
        groups = [
            self.path,
            *(self.path / well for well in self.wells),
            *(p.path for p in positions),
        ]
        arrays = [position.levels[0].path for position in positions]
        return [_newest(group, _GROUP) for group in groups] + [_newest(a, _ARRAY) for a in arrays]

    def summary(self) -> dict[str, str]:
        """Short descriptions of the plate by what they are about, for a table."""
        positions = list(self.positions.values())
        shapes = sorted({position.shape for position in positions})
        sizes = sorted({position.pixel_size_um for position in positions})
        return {
            "wells": f"{len(self.wells)}: {', '.join(self.wells)}",
            "fields of view": f"{len(positions)}",
            "channels": ", ".join(self.channels),
            "shape (t, c, z, y, x)": "; ".join(" x ".join(map(str, shape)) for shape in shapes),
            "pixel size": ", ".join(f"{size:g} um" for size in sizes),
            "resolution levels": f"{max(len(position.levels) for position in positions)}",
            "Zarr format": ", ".join(map(str, sorted({p.zarr_format for p in positions}))),
        }

    def digest(self) -> str:
        """SHA-256 of everything that the metadata says (no pixel is read)."""
        return digest_json(
            {
                position.name: [
                    list(position.channels),
                    [[level.path.name, list(level.scale)] for level in position.levels],
                    position.array_metadata,
                ]
                for position in self.positions.values()
            }
        )


@dataclass(frozen=True)
class PlateFacts:
    """What checks and fingerprints need of a plate.

    Attributes
    ----------
    channels, wells, fovs : list of str
        As in `Plate`; names of all fields of view.
    planes : list of int
        Depths of its stacks, each once.
    digest : str
        Of everything that the metadata says.
    megapixels, chunk_megapixels, frame_megapixels : float
        Millions of pixels of the finest level: of all fields of view, of the largest chunk, and of
        all chunks that a frame's channels and planes lie in.
    """

    channels: list[str]
    wells: list[str]
    fovs: list[str]
    planes: list[int]
    digest: str
    megapixels: float
    chunk_megapixels: float
    frame_megapixels: float


def plate_facts(path: str | Path) -> PlateFacts:
    """Facts of a plate, cached while its metadata files are the same.

    Raises
    ------
    UserError
        As `Plate`.
    """
    return PlateFacts(**read_cached("plate_facts", Path(path), _read_facts))


def _read_facts(path: Path) -> tuple[dict[str, Any], list[Path]]:
    plate = Plate(path)
    positions = list(plate.positions.values())
    frames = (one.chunk[0] * math.prod(one.shape[1:]) for one in positions)
    facts = PlateFacts(
        channels=plate.channels,
        wells=plate.wells,
        fovs=list(plate.positions),
        planes=sorted({position.shape[2] for position in positions}),
        digest=plate.digest(),
        megapixels=sum(math.prod(position.shape) for position in positions) / 1e6,
        chunk_megapixels=max((math.prod(one.chunk) for one in positions), default=0) / 1e6,
        frame_megapixels=max(frames, default=0) / 1e6,
    )
    return asdict(facts), plate.metadata_files


def _newest(folder: Path, names: tuple[str, str]) -> Path:
    newer, older = (folder / name for name in names)
    return newer if newer.exists() else older


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: damaged metadata ({error}). Restore the file from the plate's source."
        ) from None


def _ngff_attributes(group: Path) -> dict[str, Any]:
    """Attributes of an NGFF group: under ``attributes.ome`` in Zarr 3, flat in Zarr 2."""
    metadata = _read_json(group / "zarr.json")
    if metadata is not None:
        return metadata.get("attributes", {}).get("ome", {})
    return _read_json(group / ".zattrs") or {}


def read_array_metadata(path: Path) -> dict[str, Any]:
    """Metadata of an array (Zarr 2 or 3) as its file says it.

    Raises
    ------
    UserError
        When there is none, or it is damaged.
    """
    metadata = _read_json(path / "zarr.json") or _read_json(path / ".zarray")
    if metadata is None:
        raise UserError(f"{path}: no Zarr array here, though the plate lists one. Copy it again.")
    return metadata


def read_position(plate: Path, name: str) -> Position:
    """One field of view (``row/column/fov``) of a plate; the others are not read.

    Raises
    ------
    UserError
        When its metadata are not complete, or its axes are not t, c, z, y, x.
    """
    path = plate / name
    attributes = _ngff_attributes(path)
    try:
        image = attributes["multiscales"][0]
        axes = tuple(axis["name"].lower() for axis in image["axes"])
        if axes != _AXES:
            raise UserError(
                f"{path}: field of view {name} has axes {', '.join(axes)}; "
                "t, c, z, y, x are needed. Convert the plate with iohub."
            )
        whole = _scale(image.get("coordinateTransformations", []))
        levels = []
        for dataset in image["datasets"]:
            own = _scale(dataset["coordinateTransformations"])
            scale = tuple(a * b for a, b in zip(whole, own, strict=True))
            levels.append(Level(path / dataset["path"], scale))
        channels = tuple(channel["label"] for channel in attributes["omero"]["channels"])
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{path}: field of view {name} lacks NGFF metadata ({error} not found). "
            "Copy it again, or remove it from the plate's list of wells."
        ) from None
    return Position(name=name, path=path, channels=channels, levels=tuple(levels))


def _scale(transforms: list[dict[str, Any]]) -> list[float]:
    """Scale among the coordinate transformations of an image or a level; 1 where there is none."""
    scales = [transform["scale"] for transform in transforms if transform["type"] == "scale"]
    return [float(value) for value in scales[-1]] if scales else [1.0] * len(_AXES)
