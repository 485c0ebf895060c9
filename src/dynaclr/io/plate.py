"""What an OME-Zarr plate holds, read from its metadata alone (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3).

What an entry does not use is not read, so that it can stop nothing. Pixels are read elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.io.artifacts import digest_json
from dynaclr.io.file_cache import read_cached
from dynaclr.io.position import (
    MALFORMED,
    Level,
    Position,
    UnknownChannel,
    read_position,
    reason_of,
)
from dynaclr.io.zarr_metadata import array_file, group_file, ngff_attributes

__all__ = ["Level", "Plate", "PlateFacts", "Position", "plate_facts", "read_position"]


class Plate:
    """Metadata of an HCS OME-Zarr plate.

    Parameters
    ----------
    path : str or Path
        Root folder of the plate. It is never written to.
    wells : collection of str, optional
        Wells whose fields of view are read; default: all.
    exclude_fovs : collection of str
        Fields of view that are not read.

    Raises
    ------
    UserError
        When the folder is missing or is no HCS plate.
    """

    def __init__(
        self,
        path: str | Path,
        wells: Collection[str] | None = None,
        exclude_fovs: Collection[str] = (),
    ) -> None:
        self.path = Path(path)
        self._exclude_fovs = exclude_fovs
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such plate. Correct `data_path`.")
        try:
            attributes = ngff_attributes(self.path)
            if "plate" not in attributes:
                raise _no_plate(self.path, attributes)
            listed = [str(well["path"]).strip("/") for well in attributes["plate"]["wells"]]
        except MALFORMED as error:
            raise UserError(
                f"{self.path}: the plate cannot be used: {reason_of(error)}. Correct its list of "
                "wells, or copy its metadata again."
            ) from None
        self._wells = sorted(set(listed))
        self._used = [well for well in self._wells if wells is None or well in wells]

    @classmethod
    def of(cls, entry: ExperimentConfig) -> Plate:
        """The plate of an experiment, and of its fields of view those that the entry uses."""
        return cls(entry.data_path, entry.condition_of_well, entry.exclude_fovs)

    def __repr__(self) -> str:
        return f"Plate({str(self.path)!r}, {len(self.positions)} fields of view)"

    @cached_property
    def listed_fovs(self) -> list[str]:
        """Names (``row/column/fov``) of all fields of view of the wells that are read, sorted.

        Raises
        ------
        UserError
            When such a well has no metadata.
        """
        names, problems = set(), Problems()
        for well in self._used:
            try:
                images = ngff_attributes(self.path / well)["well"]["images"]
                names |= {f"{well}/{str(image['path']).strip('/')}" for image in images}
            except MALFORMED as error:
                problems.add(
                    self.path / well,
                    f"well {well} is listed but cannot be used: {reason_of(error)}",
                    "Copy its metadata again, or take it out of `condition_wells` of the entry",
                )
        problems.raise_if_any()
        return sorted(names)

    @cached_property
    def positions(self) -> dict[str, Position]:
        """Fields of view that are read, by name in sorted order.

        Raises
        ------
        UserError
            With all that cannot be read.
        """
        found, problems = {}, Problems()
        for name in self.listed_fovs:
            if name not in self._exclude_fovs:
                try:
                    found[name] = read_position(self.path, name)
                except UserError as error:
                    problems.found.append(str(error))
        problems.raise_if_any()
        return found

    @property
    def wells(self) -> list[str]:
        """Wells (``row/column``) that the plate lists, sorted."""
        return self._wells

    @cached_property
    def channels(self) -> list[str]:
        """Channel names of the plate, in order of first appearance."""
        return list(dict.fromkeys(c for p in self.positions.values() for c in p.channels))

    @property
    def metadata_files(self) -> list[Path]:
        """Files that hold the metadata that are read."""
        positions = self.positions.values()
        groups = [
            self.path,
            *(self.path / well for well in self._used),
            *(p.path for p in positions),
        ]
        arrays = [position.levels[0].path for position in positions]
        return [*map(group_file, groups), *map(array_file, arrays)]

    def summary(self) -> dict[str, str]:
        """Short descriptions of the plate by what they are about, for a table."""
        positions = list(self.positions.values())
        shapes = sorted({position.shape for position in positions})
        sizes = dict.fromkeys(
            f"{p.pixel_size_um:g} um" + (f" ({p.size_unknown})" if p.size_unknown else "")
            for p in positions
        )
        # Of two channels of one name both are shown.
        channels = dict.fromkeys(", ".join(position.channels) for position in positions)
        return {
            "wells": f"{len(self.wells)}: {', '.join(self.wells)}",
            "fields of view": f"{len(positions)}",
            "channels": "; ".join(channels),
            "shape (t, c, z, y, x)": "; ".join(" x ".join(map(str, shape)) for shape in shapes),
            "pixel size": ", ".join(sizes),
            "resolution levels": f"{max((len(p.levels) for p in positions), default=0)}",
            "Zarr format": ", ".join(map(str, sorted({p.zarr_format for p in positions}))),
        }

    def digest(self) -> str:
        """SHA-256 of everything that the metadata that are read say (no pixel is read)."""
        return digest_json(
            {
                position.name: [
                    list(position.channels),
                    [[level.path.name, list(level.scale)] for level in position.levels],
                    list(position.axes),
                    position.array_metadata,
                ]
                for position in self.positions.values()
            }
        )

    def channel_problems(self, entry: ExperimentConfig) -> list[tuple[str, str]]:
        """What is wrong with the entry's channels on the fields of view that are read, and its fix.

        Each problem is named once, with the first fields of view that have it.
        """
        fovs: dict[tuple[str, str], list[str]] = {}
        for channel in entry.channels:
            for name, position in self.positions.items():
                if entry.has_marker(channel.marker, position.well):
                    try:
                        position.find_channel(channel.name)
                    except UnknownChannel as error:
                        fovs.setdefault((error.what, error.fix), []).append(name)
        elsewhere = ". Or name the wells that have it under `wells` of the channel"
        return [
            (
                f"{what} in {_shown(names)} of {entry.data_path}",
                fix + (elsewhere if len(names) < len(self.positions) else ""),
            )
            for (what, fix), names in fovs.items()
        ]


def _no_plate(path: Path, attributes: dict[str, Any]) -> UserError:
    if "multiscales" in attributes or "bioformats2raw.layout" in attributes:
        return UserError(
            f"{path}: holds images without a plate (HCS layout). Make a plate of them, without a "
            f"copy of their pixels: `dynaclr import ome-zarr --images {path} --out plate.zarr`; "
            "then give that as `data_path`."
        )
    return UserError(
        f"{path}: no OME-Zarr plate (HCS layout) metadata here. "
        "Give the plate's root folder as `data_path`."
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@dataclass(frozen=True)
class PlateFacts:
    """What checks and fingerprints need of a plate, of the fields of view that an entry uses.

    Attributes
    ----------
    wells : list of str
        All that the plate lists.
    fovs : list of str
        Names of all fields of view of the wells that the entry uses, excluded ones included.
    channel_problems : list of (str, str)
        As `Plate.channel_problems`.
    planes : list of int
        Depths of its stacks, each once.
    digest : str
        Of everything that the metadata says.
    megapixels, chunk_megapixels, frame_megapixels : float
        Millions of pixels of the finest level: of all fields of view, of the largest chunk, and of
        all chunks that a frame's channels and planes lie in.
    """

    wells: list[str]
    fovs: list[str]
    channel_problems: list[tuple[str, str]]
    planes: list[int]
    digest: str
    megapixels: float
    chunk_megapixels: float
    frame_megapixels: float


def plate_facts(entry: ExperimentConfig) -> PlateFacts:
    """Facts of an experiment's plate, cached while what is read of its metadata is the same.

    Raises
    ------
    UserError
        As `Plate` and `Plate.positions`.
    """
    used = {
        "wells": sorted(entry.condition_of_well),
        "exclude_fovs": sorted(entry.exclude_fovs),
        "channels": [channel.model_dump() for channel in entry.channels],
    }
    facts = read_cached(
        "plate_facts", entry.data_path, lambda _: _read_facts(entry), digest_json(used)
    )
    return PlateFacts(**facts)


def _read_facts(entry: ExperimentConfig) -> tuple[dict[str, Any], list[Path]]:
    plate = Plate.of(entry)
    positions = list(plate.positions.values())
    frames = (one.chunk[0] * math.prod(one.shape[1:]) for one in positions)
    facts = PlateFacts(
        wells=plate.wells,
        fovs=plate.listed_fovs,
        channel_problems=plate.channel_problems(entry),
        planes=sorted({position.shape[2] for position in positions}),
        digest=plate.digest(),
        megapixels=sum(math.prod(position.shape) for position in positions) / 1e6,
        chunk_megapixels=max((math.prod(one.chunk) for one in positions), default=0) / 1e6,
        frame_megapixels=max(frames, default=0) / 1e6,
    )
    return asdict(facts), plate.metadata_files
