"""Compiled loops over the pieces of a chunk do what NumPy's slices do."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.compiled import compiled
from dynaclr.data.pieces import copy_pieces, needed_blocks

EXTENTS = hnp.array_shapes(min_dims=5, max_dims=5, min_side=1, max_side=6)


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
    for first, behind, begin, end in pieces.reshape(-1, 4, 5):
        here, there = (tuple(map(slice, *corner)) for corner in ((first, behind), (begin, end)))
        wanted[here] = pixels[there]
    np.testing.assert_array_equal(out, wanted)


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
