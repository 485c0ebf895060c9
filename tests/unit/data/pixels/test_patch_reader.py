"""Patches equal slices of the plate as iohub reads it."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iohub.ngff import open_ome_zarr

from dynaclr.config import UserError
from dynaclr.data.pixels.patch_reader import PatchReader, depth_window, patch_origin
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.io import Plate
from dynaclr.io.plate_writer import PlateLayout, new_plate

LAYOUTS = {
    "v2": PlateLayout("0.4", chunk_yx=16),
    "v2-whole-planes": PlateLayout("0.4", chunk_yx=64, chunk_frames=2),
    "v3": PlateLayout("0.5", chunk_yx=16),
    "v3-sharded": PlateLayout("0.5", chunk_yx=16, shard_frames=2),
}


@pytest.fixture(scope="module", params=LAYOUTS)
def plate_path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "plate.zarr"
    rng = np.random.default_rng(0)
    with new_plate(
        path,
        positions=["A/1/0", "A/1/1"],
        channels=["Phase3D", "GFP", "RFP"],
        shape_TZYX=(4, 3, 48, 40),
        dtype=np.uint16,
        interval_minutes=10,
        layout=LAYOUTS[request.param],
    ) as plate:
        for name in plate.positions:
            with plate.position(name) as frames:
                for _ in range(4):
                    frames.append(rng.integers(0, 60000, (3, 3, 48, 40), dtype=np.uint16))
    return path


def reader_of(path, channels=(2, 0), size=(12, 10), depth=2, z_start=1, margin=(0, 0), **options):
    positions = Plate(path).positions.values()
    sources = [PatchSource(position, channels, size, z_start, margin) for position in positions]
    return PatchReader(sources, depth, **options)


def test_patches_equal_iohub_slices_to_the_bit(plate_path):
    rng = np.random.default_rng(1)
    source, t = rng.integers(0, 2, 64), rng.integers(0, 4, 64)
    y, x = rng.uniform(6, 41, 64), rng.uniform(5, 34, 64)
    patches = reader_of(plate_path).read(source, t, y, x)
    with open_ome_zarr(plate_path, mode="r") as plate:
        for number, patch in enumerate(patches):
            array = plate[f"A/1/{source[number]}"]["0"]
            y0, x0 = int(np.floor(y[number] + 0.5)) - 6, int(np.floor(x[number] + 0.5)) - 5
            wanted = np.asarray(array[t[number]])[[2, 0], 1:3, y0 : y0 + 12, x0 : x0 + 10]
            np.testing.assert_array_equal(patch, wanted)
            assert patch.dtype == np.float32


def test_what_was_never_written_into_a_shard_is_what_iohub_reads(tmp_path):
    with open_ome_zarr(
        tmp_path / "p", layout="hcs", mode="w-", channel_names=["a"], version="0.5"
    ) as plate:
        position = plate.create_position("A", "1", "0")
        shape, chunks, ratio = (2, 1, 1, 32, 32), (1, 1, 1, 8, 8), (1, 1, 1, 4, 4)
        array = position.create_zeros("0", shape, np.uint16, chunks=chunks, shards_ratio=ratio)
        array[:, :, :, :8, 8:24] = 7
    points = np.zeros(2, int), np.arange(2), np.full(2, 12.0), np.full(2, 12.0)
    found = reader_of(tmp_path / "p", (0,), (20, 22), depth=1, z_start=0).read(*points)
    with open_ome_zarr(tmp_path / "p", mode="r") as plate:
        pixels = np.asarray(plate["A/1/0"]["0"][:, :, :, 2:22, 1:23])
    assert set(np.unique(pixels)) == {0, 7}
    np.testing.assert_array_equal(found, pixels)


def test_a_margin_moves_no_patch_and_mirrors_what_lies_outside(plate_path):
    rng = np.random.default_rng(2)
    points = [rng.integers(0, 2, 40), rng.integers(0, 4, 40), *rng.uniform(-2, 48, (2, 40))]
    bare = reader_of(plate_path).read(*points)
    wide = reader_of(plate_path, margin=(9, 40)).read(*points)
    with open_ome_zarr(plate_path, mode="r") as plate:
        for number, (inner, outer) in enumerate(zip(bare, wide, strict=True)):
            assert outer.shape == (2, 2, 12 + 9, 10 + 40)
            np.testing.assert_array_equal(outer[:, :, 4:16, 20:30], inner)
            s, t, y, x = (point[number] for point in points)
            stack = np.asarray(plate[f"A/1/{s}"]["0"][t])[[2, 0], 1:3]
            mirrored = np.pad(stack, [(0, 0), (0, 0), (60, 60), (60, 60)], mode="reflect")
            y0 = int(patch_origin(y, 12, 48)) - 4 + 60
            x0 = int(patch_origin(x, 10, 40)) - 20 + 60
            np.testing.assert_array_equal(outer, mirrored[:, :, y0 : y0 + 21, x0 : x0 + 50])


def test_order_and_batch_do_not_change_a_patch(plate_path):
    points = [np.array([1, 0, 1]), np.array([3, 0, 2]), np.full(3, 20.0), np.full(3, 20.0)]
    together = reader_of(plate_path).read(*points)
    for number in (2, 0, 1):
        alone = reader_of(plate_path, cache_bytes=0).read(*[p[number : number + 1] for p in points])
        np.testing.assert_array_equal(alone[0], together[number])


def test_absent_marker_is_zero(plate_path):
    points = (np.array([0]), np.array([1]), np.array([20.0]), np.array([20.0]))
    (patch,) = reader_of(plate_path, channels=(-1, 1)).read(*points)
    assert (patch[0] == 0).all()
    assert (patch[1] > 0).any()
    (nothing,) = reader_of(plate_path, channels=(-1,)).read(*points)
    assert nothing.shape == (1, 2, 12, 10)
    assert (nothing == 0).all()


def test_reader_pickles_small_and_reads_the_same(plate_path):
    reader = reader_of(plate_path)
    points = (np.array([1]), np.array([2]), np.array([0.0]), np.array([39.0]))
    before = reader.read(*points)
    packed = pickle.dumps(reader)
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed).read(*points)[0], before[0])


def test_patch_larger_than_the_image_is_refused(plate_path):
    with pytest.raises(UserError, match=r"A/1/0 is 48 x 40 pixels, a patch needs 64 x 10"):
        reader_of(plate_path, size=(64, 10))


def test_too_deep_a_window_is_refused():
    assert depth_window(5, 3, "plate") == 1
    with pytest.raises(UserError, match="has 3 z planes, 4 are asked for"):
        depth_window(3, 4, "plate")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_patches_stay_inside_the_image(data):
    extent = data.draw(st.integers(1, 50))
    size = data.draw(st.integers(1, extent))
    center = data.draw(st.floats(-5, extent + 5))
    start = int(patch_origin(center, size, extent))
    assert 0 <= start <= extent - size
    free = int(np.floor(center + 0.5)) - size // 2
    if 0 <= free <= extent - size:
        assert start == free, "a patch that fits is not moved"
