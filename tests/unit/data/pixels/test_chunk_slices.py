"""Compiled loops over chunk slices do what NumPy's slices do."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.pixels.chunk_slices import copy_slices, needed_blocks, slice_boxes
from dynaclr.data.pixels.compiled import compiled

EXTENTS = hnp.array_shapes(min_dims=5, max_dims=5, min_side=1, max_side=6)


@pytest.fixture(scope="module", autouse=True)
def compiled_before():
    """Hypothesis times its examples, not the compiler."""
    none, small = np.empty((0, 3, 5), np.int64), np.zeros((1,) * 5, np.uint8)
    for kind in (ordinary, read_only):
        copy_slices(kind(small.copy()), none, small)
    needed_blocks(none, (1,) * 5, 1, 1, 1)


@st.composite
def drawn(draw):
    """Extents of an output and of a chunk, and slices that fit into both."""
    out, chunk = draw(EXTENTS), draw(EXTENTS)
    slices = []
    for _ in range(draw(st.integers(0, 5))):
        corners = np.ones((3, 5), np.int64)
        for axis, (n, m) in enumerate(zip(out, chunk, strict=True)):
            side = 1 if axis == 0 else draw(st.integers(1, min(n, m)))
            corners[0, axis] = draw(st.integers(0, n - side))
            corners[1, axis] = draw(st.integers(0, m - side))
            corners[2, axis] = side
        slices.append(corners)
    return out, chunk, np.array(slices, np.int64).reshape(-1, 3, 5)


def ordinary(pixels):
    return pixels


def read_only(pixels):
    pixels.flags.writeable = False
    return pixels


def other_order(pixels):
    return np.asfortranarray(pixels)


def other_bytes(pixels):
    return pixels.astype(pixels.dtype.newbyteorder(">"))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("into", ["same", "f8"])
@pytest.mark.parametrize("kind", [ordinary, read_only, other_order, other_bytes])
@given(drawn())
def test_chunk_slices_are_those_of_numpy(dtype, into, kind, case):
    out_shape, chunk, slices = case
    rng = np.random.default_rng(0)
    pixels = kind(rng.integers(1, 200, chunk).astype(dtype))
    out = np.zeros(out_shape, dtype if into == "same" else into)
    wanted = out.copy()
    copy_slices(pixels, slices, out)
    copy_by_numpy(pixels, slices, wanted)
    np.testing.assert_array_equal(out, wanted)


def copy_by_numpy(pixels, slices, out):
    for target, inside, extent in slices:
        here, there = (tuple(map(slice, first, first + extent)) for first in (target, inside))
        out[here] = pixels[there]


@st.composite
def some_boxes(draw):
    """Chunks and shapes of two arrays, and boxes in them."""
    chunk, shape = (np.array([draw(EXTENTS) for _ in range(2)]) for _ in range(2))
    layout = np.array(draw(st.lists(st.integers(0, 1), max_size=6)), np.int64)
    start, side = [], []
    for k in layout:
        side.append([draw(st.integers(1, n)) for n in shape[k].tolist()])
        start.append([draw(st.integers(0, n)) for n in (shape[k] - side[-1]).tolist()])
    start, side = (np.array(x, np.int64).reshape(-1, 5) for x in (start, side))
    return chunk, -(-shape // chunk), layout, start, start + side


@given(some_boxes(), st.integers(0, 9))
def test_chunk_slices_cover_each_pixel_of_a_box_once_and_go_where_it_goes(case, seed):
    chunk, grid, layout, start, stop = case
    target = np.random.default_rng(seed).integers(0, 9, start.shape)
    box, number, index, slices = slice_boxes(start, stop, target, layout, chunk, grid)
    seen = [np.zeros(extent, int) for extent in stop - start]
    for k, own, position, (first, inside, extent) in zip(box, number, index, slices, strict=True):
        assert np.ravel_multi_index(position, grid[layout[k]]) == own
        assert (inside >= 0).all()
        assert (inside + extent <= chunk[layout[k]]).all()
        from_start = position * chunk[layout[k]] + inside - start[k]
        np.testing.assert_array_equal(first - target[k], from_start)
        seen[k][tuple(map(slice, from_start, from_start + extent))] += 1
    assert all((part == 1).all() for part in seen)
    assert (np.diff(box) >= 0).all()


@given(drawn(), st.integers(1, 4), st.integers(1, 40))
def test_blocks_from_first_to_last_pixel_of_a_plane_of_a_slice_are_needed(case, item, block_bytes):
    _, chunk, slices = case
    n_bytes = int(np.prod(chunk)) * item
    n_blocks = -(-n_bytes // block_bytes)
    found = needed_blocks(slices, chunk, item, block_bytes, n_blocks)
    wanted = np.zeros(n_blocks, bool)
    number_of = np.arange(int(np.prod(chunk))).reshape(chunk)
    for _, inside, extent in slices:
        box = number_of[tuple(map(slice, inside, inside + extent))]
        for plane in box.reshape(-1, *extent[3:]):
            first, last = plane.min() * item, (plane.max() + 1) * item - 1
            wanted[first // block_bytes : last // block_bytes + 1] = True
    np.testing.assert_array_equal(found, wanted)


def test_a_loop_is_compiled_where_nothing_can_be_kept_on_disk():
    content = {}
    # Numba keeps nothing of what stands in no file, and says so as where no folder can be written.
    exec("def add(a, b):\n    return a + b", content)
    assert compiled(content["add"])(2, 3) == 5
