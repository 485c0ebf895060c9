"""The bytes of a chunk are found with few calls, and no file stays open longer than it should."""

import gc
import os

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.chunks import Boxes, ChunkReader
from dynaclr.data.files import _ADDED, _SMALL, ChunkFiles
from dynaclr.data.layout import layout_of
from dynaclr.experiments.plate import read_array_metadata

EDGE, N = 16, 8
CHUNK_BYTES = 2 * EDGE * EDGE
INDICES = list(np.ndindex(1, 1, 1, N, N))


def make(path, **options):
    """A plane of N x N chunks that do not compress."""
    pixels = np.random.default_rng(0).integers(0, 2**16, (1, 1, 1, N * EDGE, N * EDGE), np.uint16)
    options = {"chunks": (1, 1, 1, EDGE, EDGE)} | options
    array = zarr.create_array(path, shape=pixels.shape, dtype="u2", **options)
    array[...] = pixels
    return layout_of(read_array_metadata(path))


def make_sharded(path):
    return make(path, shards=(1, 1, 1, N * EDGE, N * EDGE // 2))


def every_chunk_read(path, layout, threads=1):
    """Faults of reading one pixel of each chunk."""
    reader = ChunkReader([str(path)], [layout], np.zeros(1, int), 0, threads)
    start = np.array(INDICES) * layout.chunk
    target = np.zeros((len(start), 5), np.int64)
    target[:, 0] = np.arange(len(start))
    boxes = Boxes(np.zeros(len(start), np.int64), start, start + 1, target)
    return reader, reader.read(boxes, np.zeros((len(start), 1, 1, 1, 1), np.uint16))


def files_open(folder):
    """Files in a folder that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            # The descriptor with which the folder was listed.
            continue
    return [name for name in found if name.startswith(str(folder))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An array with a chunk in each file."""
    path = tmp_path_factory.mktemp("alone") / "a"
    return path, make(path)


@given(
    n_bytes=st.one_of(
        st.integers(0, 2 * CHUNK_BYTES),
        st.integers(-2, 2).map(lambda n: CHUNK_BYTES + _ADDED + n),
        st.integers(-2, 2).map(lambda n: _SMALL + n),
    ),
    offset=st.integers(0, 2 * _SMALL),
    length=st.integers(0, 2 * _SMALL),
)
def test_a_file_is_read_to_its_end_however_long_it_is(alone, n_bytes, offset, length):
    path, layout = alone
    name, _ = layout.file_of(INDICES[3])
    data = np.random.default_rng(n_bytes).bytes(n_bytes)
    (path / name).write_bytes(data)
    stored = ChunkFiles([str(path)]).open(0, layout, INDICES[3])
    assert stored.whole() == data
    assert stored.read(offset, length) == data[offset : offset + length]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_shard_is_opened_for_its_index_and_once_for_all_of_its_chunks(
    threads, tmp_path, monkeypatch
):
    layout, opened, original = make_sharded(tmp_path / "a"), [], os.open

    def counting(path, *args, **options):
        opened.append(str(path))
        return original(path, *args, **options)

    monkeypatch.setattr("dynaclr.data.files.os.open", counting)
    reader, faults = every_chunk_read(tmp_path / "a", layout, threads)
    assert faults == []
    assert len(set(opened)) == 2
    # Threads may come to a shard at the same time.
    assert len(opened) <= 2 * 2 * threads
    assert len(files_open(tmp_path)) == 2
    del reader
    assert files_open(tmp_path) == []


@pytest.mark.parametrize("kind", [make, make_sharded])
@pytest.mark.parametrize("damage", ["cut", "spoilt"])
def test_chunks_that_are_passed_over_leave_no_file_open(kind, damage, tmp_path):
    layout = kind(tmp_path / "a")
    for name in {layout.file_of(index)[0] for index in INDICES}:
        file = tmp_path / "a" / name
        data = file.read_bytes()
        # A shard keeps its index, at the end, and loses its chunks.
        n = layout.index_bytes if layout.shard is not None else 0
        kept = data[len(data) - n :]
        file.write_bytes((b"" if damage == "cut" else bytes(len(data) - n)) + kept)
    gc.disable()
    try:
        reader, faults = every_chunk_read(tmp_path / "a", layout)
        assert len(faults) == len(INDICES)
        assert len(files_open(tmp_path)) == (2 if kind is make_sharded else 0)
        del reader
        assert files_open(tmp_path) == []
    finally:
        gc.enable()


def test_a_shard_is_found_again_after_others_had_to_be_closed(tmp_path, monkeypatch):
    layout = make_sharded(tmp_path / "a")
    monkeypatch.setattr("dynaclr.data.files._OPEN", 1)
    files = ChunkFiles([str(tmp_path / "a")])
    first, other = INDICES[0], INDICES[N - 1]
    assert layout.file_of(first)[0] != layout.file_of(other)[0]
    wanted = files.open(0, layout, first).whole()
    held = files.open(0, layout, first)
    for _ in range(3):
        files.open(0, layout, other).whole()
        assert files.open(0, layout, first).whole() == wanted
        assert len(files_open(tmp_path)) <= 2
    # Who holds a chunk can go on reading it.
    assert held.whole() == wanted
    assert held.read(3, 5) == wanted[3:8]
