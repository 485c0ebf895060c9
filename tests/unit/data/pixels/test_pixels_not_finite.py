"""Pixels that are NaN or infinite follow ``unreadable``, as missing chunks do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.unit.io.written_plates import entry_of, pixels, write_plate

from dynaclr.config import UserError
from dynaclr.data.pixels.patch_reader import PatchReader
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.data.pixels.unreadable import rows_not_finite
from dynaclr.data.statistics.compute import statistics_table
from dynaclr.io import Plate


# The first call compiles.
@settings(deadline=None)
@given(
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.uint16]),
        st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 9)),
    )
)
def test_rows_equal_those_that_numpy_finds(patches):
    expected = np.flatnonzero(~np.isfinite(patches).all(axis=(1, 2)))
    np.testing.assert_array_equal(rows_not_finite(patches), expected)


def read_frames(path, unreadable=None):
    source = PatchSource(Plate(path).positions["A/1/0"], (0, 1), (8, 8))
    # In the corner, so that a part of the patch is a mirror image.
    where = np.full(4, 3.0), np.full(4, 3.0)
    reader = PatchReader([source], 1, dtype="native")
    return reader.read(np.zeros(4, int), np.arange(4), *where, unreadable=unreadable)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_patches_are_reported_or_flagged(tmp_path, caplog, dtype, value):
    data = pixels((4, 2, 1, 24, 20), dtype)
    data[2:, 1, 0, 5, 5] = value
    path = write_plate(tmp_path / "plate.zarr", data, labels=["a", "b"])
    with pytest.raises(UserError, match=r"frame 2 of field of view A/1/0, channel b .* infinite"):
        read_frames(path)
    unreadable = np.zeros(4, bool)
    out = read_frames(path, unreadable)
    assert unreadable.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(out[:2], data[:2, :, :, :8, :8])
    assert not out[2:].any()
    assert caplog.text.count("NaN or infinite") == 1


def test_pixels_beyond_the_patch_do_not_matter(tmp_path):
    data = pixels((4, 2, 1, 24, 20), "f4")
    data[..., 12:] = np.nan
    path = write_plate(tmp_path / "plate.zarr", data, labels=["a", "b"])
    np.testing.assert_array_equal(read_frames(path), data[..., :8, :8])


def test_statistics_say_how_many(tmp_path, caplog):
    data = pixels(dtype="f4")
    data[1, ..., :5] = np.nan
    write_plate(tmp_path / "plate.zarr", data)
    table = statistics_table(entry_of(tmp_path))
    assert table.query("level == 'experiment'")["n_nan"].tolist() == [24 * 5]
    assert "1 of 4 frames of gfp" in caplog.text
    assert "6.2 % of all pixels" in caplog.text
