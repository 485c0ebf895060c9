"""Plates are written whole, and read back as they were written."""

from pathlib import Path

import numpy as np
import pytest
from iohub.ngff import open_ome_zarr
from tests.unit.importers.imported import read_pixels

from dynaclr.config import UserError
from dynaclr.io import Plate
from dynaclr.io.plate_writer import PlateLayout, new_plate

POSITIONS = ["A/1/0", "A/1/1", "B/2/0"]
CHANNELS = ["Phase3D", "GFP"]
SHAPE_TZYX = (5, 1, 70, 90)
LAYOUTS = {
    "zarr2": PlateLayout("0.4", chunk_yx=32),
    "zarr2-time-chunks": PlateLayout("0.4", chunk_yx=64, chunk_frames=2),
    "zarr3": PlateLayout("0.5", chunk_yx=32),
    "zarr3-sharded": PlateLayout("0.5", chunk_yx=32, shard_frames=1),
    "zarr3-long-shards": PlateLayout("0.5", chunk_yx=32, chunk_frames=2, shard_frames=4),
}


def movie(position: str, dtype: str = "uint16") -> np.ndarray:
    rng = np.random.default_rng(POSITIONS.index(position))
    n_frames, *extent = SHAPE_TZYX
    return rng.integers(0, 60000, (n_frames, len(CHANNELS), *extent)).astype(dtype)


def write(path: Path, layout: PlateLayout, dtype: str = "uint16", **kwargs) -> Path:
    options = {"interval_minutes": 15, "pixel_size_um": 0.45, "dtype": dtype, **kwargs}
    with new_plate(
        path,
        positions=POSITIONS,
        channels=CHANNELS,
        shape_TZYX=SHAPE_TZYX,
        layout=layout,
        **options,
    ) as plate:
        for position in POSITIONS:
            with plate.position(position) as frames:
                for frame in movie(position, dtype):
                    frames.append(frame)
    return path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_metadata_and_pixels_are_read_back(tmp_path, layout):
    path = write(tmp_path / "plate.zarr", layout)
    plate = Plate(path)
    assert list(plate.positions) == POSITIONS
    assert plate.wells == ["A/1", "B/2"]
    assert plate.channels == CHANNELS
    for name, position in plate.positions.items():
        assert position.shape == (5, 2, 1, 70, 90)
        assert position.levels[0].scale == (900.0, 1.0, 1.0, 0.45, 0.45)
        assert position.zarr_format == {"0.4": 2, "0.5": 3}[layout.ngff]
        pixels = read_pixels(position)
        assert np.array_equal(pixels, movie(name))
        with open_ome_zarr(position.path) as node:
            assert np.array_equal(np.asarray(node["0"][:]), movie(name))
            assert list(node.channel_names) == CHANNELS


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixel_type_is_kept(tmp_path, dtype):
    plate = Plate(write(tmp_path / "plate.zarr", PlateLayout("0.5"), dtype))
    position = plate.positions["B/2/0"]
    pixels = read_pixels(position)
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, movie("B/2/0", dtype))


def test_shards_hold_whole_frames_in_one_file(tmp_path):
    path = write(tmp_path / "plate.zarr", LAYOUTS["zarr3-long-shards"])
    files = sorted(p.relative_to(path) for p in (path / "A/1/0/0/c").rglob("*") if p.is_file())
    assert [str(file) for file in files] == ["A/1/0/0/c/0/0/0/0/0", "A/1/0/0/c/1/0/0/0/0"]


@pytest.mark.parametrize("pixel_size_um", [0.45, None])
def test_unknown_pixel_size_has_no_unit(tmp_path, pixel_size_um):
    path = write(tmp_path / "plate.zarr", PlateLayout("0.4"), pixel_size_um=pixel_size_um)
    with open_ome_zarr(path / "A/1/0") as node:
        units = [node.axes[i].unit for i in (3, 4)]
    assert units == (["micrometer"] * 2 if pixel_size_um else [None] * 2)
    assert Plate(path).positions["A/1/0"].pixel_size_um == (pixel_size_um or 1.0)


def test_same_input_gives_same_files(tmp_path):
    plates = [write(tmp_path / name, LAYOUTS["zarr3-sharded"]) for name in ("a.zarr", "b.zarr")]
    contents = [
        {p.relative_to(plate): p.read_bytes() for p in plate.rglob("*") if p.is_file()}
        for plate in plates
    ]
    assert contents[0] == contents[1]


def test_existing_plate_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "plate.zarr"
    path.mkdir()
    (path / "precious").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        write(path, PlateLayout())
    assert (path / "precious").read_text() == "mine"
    write(path, PlateLayout(), overwrite=True)
    assert not (path / "precious").exists()


def write_small(path: Path, frames: list[np.ndarray]) -> None:
    with (
        new_plate(
            path,
            positions=["A/1/0"],
            channels=CHANNELS,
            shape_TZYX=(1, 1, 70, 90),
            dtype="uint8",
            interval_minutes=10,
        ) as plate,
        plate.position("A/1/0") as writer,
    ):
        for frame in frames:
            writer.append(frame)


def test_frames_that_do_not_fit_are_refused(tmp_path):
    frame = np.zeros((2, 1, 70, 90), np.uint8)
    wrong = {
        "shape": [frame[:1]],
        "does not fit into uint8": [frame.astype(np.uint16)],
        "already there": [frame, frame],
        "0 of 1 frames": [],
    }
    for message, frames in wrong.items():
        with pytest.raises(ValueError, match=message):
            write_small(tmp_path / "plate.zarr", frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ngff": "0.3"}, "0.4"),
        ({"ngff": "0.4", "shard_frames": 2}, "no shards"),
        (
            {"ngff": "0.5", "shard_frames": 3, "chunk_frames": 2},
            r"shard_frames \(3\) must be a multiple of chunk_frames \(2\)",
        ),
        ({"ngff": "0.5", "shard_frames": 0}, "at least 1"),
        ({"chunk_yx": 0}, "at least 1"),
    ],
)
def test_impossible_layouts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PlateLayout(**options)


def test_names_given_twice_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="positions"),
        new_plate(
            tmp_path / "plate.zarr",
            positions=["A/1/0", "A/1/0"],
            channels=CHANNELS,
            shape_TZYX=SHAPE_TZYX,
            dtype="uint16",
            interval_minutes=10,
        ),
    ):
        pass
