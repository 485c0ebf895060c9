"""Compiled loops over the pieces of a chunk do what NumPy's slices do."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.pixels.buffers import empty
from dynaclr.data.pixels.chunk_slices import STREAMED, copy_pieces, cut_boxes, needed_blocks
from dynaclr.data.pixels.compiled import compiled

EXTENTS = hnp.array_shapes(min_dims=5, max_dims=5, min_side=1, max_side=6)


@pytest.fixture(scope="module", autouse=True)
def compiled_before():
    """Hypothesis times its examples, not the compiler."""
    none, small = np.empty((0, 20), np.int64), np.zeros((1,) * 5, np.uint8)
    for kind in (ordinary, read_only):
        copy_pieces(kind(small.copy()), none, small)
    needed_blocks(none, (1,) * 5, 1, 1, 1)
    cut_boxes(*np.zeros((3, 0, 5)), np.zeros(0), *np.ones((2, 1, 5)))


@st.composite
def drawn(draw):
    """Extents of an output and of a chunk, and pieces that fit into both."""
    out, chunk = draw(EXTENTS), draw(EXTENTS)
    pieces = []
    for _ in range(draw(st.integers(0, 5))):
        corners = np.zeros((4, 5), np.int64)
        for axis, (n, m) in enumerate(zip(out, chunk, strict=True)):
            side = 1 if axis == 0 else draw(st.integers(1, min(n, m)))
            corners[0, axis] = draw(st.integers(0, n - side))
            corners[2, axis] = draw(st.integers(0, m - side))
            corners[1::2, axis] = corners[::2, axis] + side
        pieces.append(corners.ravel())
    return out, chunk, np.array(pieces, np.int64).reshape(-1, 20)


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
def test_pieces_are_slices(dtype, into, kind, case):
    out_shape, chunk, pieces = case
    rng = np.random.default_rng(0)
    pixels = kind(rng.integers(1, 200, chunk).astype(dtype))
    out = np.zeros(out_shape, dtype if into == "same" else into)
    wanted = out.copy()
    copy_pieces(pixels, pieces, out)
    copy_by_slices(pixels, pieces, wanted)
    np.testing.assert_array_equal(out, wanted)


def copy_by_slices(pixels, pieces, out):
    for first, behind, begin, end in pieces.reshape(-1, 4, 5):
        here, there = (tuple(map(slice, *corner)) for corner in ((first, behind), (begin, end)))
        out[here] = pixels[there]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("begins", [0, 4, 32])
@pytest.mark.parametrize("side", [128, 125])
def test_pieces_of_large_outputs_are_slices_whichever_way_they_are_written(dtype, begins, side):
    rng = np.random.default_rng(0)
    shape = (-(-STREAMED // (2 * side**2 * np.dtype(dtype).itemsize)), 2, 1, side, side)
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    out = empty((n_bytes + begins,), np.uint8)[begins:].view(dtype).reshape(shape)
    assert out.nbytes >= STREAMED
    out[...] = 7
    wanted = out.copy()
    chunk = rng.integers(0, 200, (1, 2, 1, 150, side + 40)).astype(dtype)
    corners = np.zeros((shape[0], 4, 5), np.int64)
    # Of some samples whole patches, of others parts, which begin and end in the middle of a word.
    low = rng.integers(0, 40, (shape[0], 2)) * rng.integers(0, 2, (shape[0], 1))
    corners[:, 0, 0], corners[:, 0, 3:] = np.arange(shape[0]), low
    corners[:, 1] = corners[:, 0] + [1, 2, 1, 0, 0]
    corners[:, 1, 3:] = side - low[:, ::-1]
    corners[:, 2, 3:] = rng.integers(0, 20, (shape[0], 2))
    corners[:, 3] = corners[:, 2] + corners[:, 1] - corners[:, 0]
    pieces = corners.reshape(-1, 20)
    parts = [pieces[first::2].copy() for first in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: copy_pieces(chunk, part, out), parts))
    copy_by_slices(chunk, pieces, wanted)
    np.testing.assert_array_equal(out, wanted)


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
def test_pieces_cover_each_pixel_of_a_box_once_and_go_where_it_goes(case, seed):
    chunk, grid, layout, start, stop = case
    target = np.random.default_rng(seed).integers(0, 9, start.shape)
    box, number, index, pieces = cut_boxes(start, stop, target, layout, chunk, grid)
    seen = [np.zeros(extent, int) for extent in stop - start]
    for k, own, place, piece in zip(box, number, index, pieces.reshape(-1, 4, 5), strict=True):
        first, behind, begin, end = piece
        assert np.ravel_multi_index(place, grid[layout[k]]) == own
        assert (begin >= 0).all()
        assert (end <= chunk[layout[k]]).all()
        np.testing.assert_array_equal(behind - first, end - begin)
        from_start = place * chunk[layout[k]] + begin - start[k]
        np.testing.assert_array_equal(first - target[k], from_start)
        seen[k][tuple(map(slice, from_start, from_start + end - begin))] += 1
    assert all((part == 1).all() for part in seen)
    assert (np.diff(box) >= 0).all()


@given(drawn(), st.integers(1, 4), st.integers(1, 40))
def test_blocks_from_first_to_last_pixel_of_a_plane_of_a_piece_are_needed(case, item, block_bytes):
    _, chunk, pieces = case
    n_bytes = int(np.prod(chunk)) * item
    n_blocks = -(-n_bytes // block_bytes)
    found = needed_blocks(pieces, chunk, item, block_bytes, n_blocks)
    wanted = np.zeros(n_blocks, bool)
    number_of = np.arange(int(np.prod(chunk))).reshape(chunk)
    for _, _, begin, end in pieces.reshape(-1, 4, 5):
        for plane in number_of[tuple(map(slice, begin, end))].reshape(-1, *(end - begin)[3:]):
            first, last = plane.min() * item, (plane.max() + 1) * item - 1
            wanted[first // block_bytes : last // block_bytes + 1] = True
    np.testing.assert_array_equal(found, wanted)


def test_a_loop_is_compiled_where_nothing_can_be_kept_on_disk():
    content = {}
    # Numba keeps nothing of what stands in no file, and says so as where no folder can be written.
    exec("def add(a, b):\n    return a + b", content)
    assert compiled(content["add"])(2, 3) == 5
