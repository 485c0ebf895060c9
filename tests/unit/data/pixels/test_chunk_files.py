"""The bytes of a chunk are found with few calls, and no file stays open longer than it should."""

import errno
import gc
import os

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.data.pixels.chunk_files import _ADDED, _SMALL, ChunkFiles
from dynaclr.data.pixels.chunks import Boxes, ChunkReader
from dynaclr.data.pixels.layout import layout_of
from dynaclr.data.pixels.unreadable import decoded_by
from dynaclr.data.statistics.compute import FrameCounter
from dynaclr.io.plate import read_array_metadata

EDGE, N = 16, 8
CHUNK_BYTES = 2 * EDGE * EDGE
INDICES = list(np.ndindex(1, 1, 1, N, N))


def make(path, **options):
    """A plane of N x N chunks that do not compress."""
    pixels = np.random.default_rng(0).integers(0, 2**16, (1, 1, 1, N * EDGE, N * EDGE), np.uint16)
    options = {"chunks": (1, 1, 1, EDGE, EDGE), "dtype": "u2"} | options
    array = zarr.create_array(path, shape=pixels.shape, **options)
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


@settings(deadline=None)
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
def test_a_shard_is_opened_once_for_all_of_its_chunks(threads, tmp_path, monkeypatch):
    layout, opened, original = make_sharded(tmp_path / "a"), [], os.open

    def counting(path, *args, **options):
        if str(path).startswith(str(tmp_path)):
            opened.append(str(path))
        return original(path, *args, **options)

    monkeypatch.setattr("dynaclr.data.pixels.chunk_files.os.open", counting)
    reader, faults = every_chunk_read(tmp_path / "a", layout, threads)
    assert faults == []
    assert len(set(opened)) == 2
    # Threads may come to a shard at the same time.
    assert len(opened) <= 2 * threads
    assert len(files_open(tmp_path)) == 2
    if threads > 1:
        reader._pool.shutdown()
    del reader
    assert files_open(tmp_path) == []


def spoil(path, layout, damage):
    """Lose all chunks of an array; a shard keeps its index, at the end."""
    for name in {layout.file_of(index)[0] for index in INDICES}:
        data = (path / name).read_bytes()
        n = layout.index_bytes if layout.shard is not None else 0
        lost = b"" if damage == "cut" else bytes(len(data) - n)
        (path / name).write_bytes(lost + data[len(data) - n :])


@pytest.fixture
def no_garbage():
    """Nothing is found by looking for garbage, which may come too late."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("kind", [make, make_sharded])
@pytest.mark.parametrize("damage", ["cut", "spoilt"])
@pytest.mark.parametrize("small", [0, _SMALL])
def test_chunks_that_are_passed_over_leave_no_file_open(kind, damage, small, tmp_path, monkeypatch):
    # Of a chunk that is not small the file is open while it is decoded.
    monkeypatch.setattr("dynaclr.data.pixels.chunk_files._SMALL", small)
    layout = kind(tmp_path / "a")
    spoil(tmp_path / "a", layout, damage)
    reader, faults = every_chunk_read(tmp_path / "a", layout)
    assert len(faults) == len(INDICES)
    assert len(files_open(tmp_path)) == (2 if kind is make_sharded else 0)
    del reader
    assert files_open(tmp_path) == []


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_frames_that_are_passed_over_leave_no_file_open(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr("dynaclr.data.pixels.chunk_files._SMALL", 0)
    # The array is no plate's: there is no field of view to name.
    monkeypatch.setattr("dynaclr.data.statistics.compute.message_of", lambda *place: "lost")
    layout = make(tmp_path / "a", dtype=dtype)
    spoil(tmp_path / "a", layout, "spoilt")
    reader = ChunkReader([str(tmp_path / "a")], [layout], np.zeros(1, int), 0, 1)
    for _ in range(3):
        assert FrameCounter(reader, skip=True).count(0, 0, [0])[0][0].pixels.n == 0
        assert files_open(tmp_path) == []


@pytest.mark.parametrize("compressors", ["auto", None])
def test_few_shards_are_open_and_each_is_found_again(compressors, tmp_path, monkeypatch):
    # A shard of a store without compression is mapped.
    shards = (1, 1, 1, N * EDGE, N * EDGE // 2)
    layout = make(tmp_path / "a", shards=shards, compressors=compressors)
    first, other = INDICES[0], INDICES[N - 1]
    assert layout.file_of(first)[0] != layout.file_of(other)[0]
    pixels = zarr.open_array(tmp_path / "a")[...]
    monkeypatch.setattr("dynaclr.data.pixels.chunk_files._OPEN", 1)
    reader = ChunkReader([str(tmp_path / "a")], [layout], np.zeros(1, int), 0, 1)
    for index in (first, other, first, other, first):
        y, x = index[3] * EDGE, index[4] * EDGE
        chunk = reader.whole(0, index)[0, 0, 0]
        np.testing.assert_array_equal(chunk, pixels[0, 0, 0, y : y + EDGE, x : x + EDGE])
        assert len(reader._files._open) == 1
        del chunk
        assert len(files_open(tmp_path)) <= 1


def test_a_chunk_can_be_read_after_its_shard_had_to_leave(tmp_path, monkeypatch):
    edge = 512
    pixels = np.random.default_rng(0).integers(0, 2**16, (1, 1, 1, edge, 2 * edge), np.uint16)
    chunk = (1, 1, 1, edge, edge)
    options = {"shape": pixels.shape, "dtype": "u2", "chunks": chunk, "shards": chunk}
    zarr.create_array(tmp_path / "a", **options)[...] = pixels
    layout = layout_of(read_array_metadata(tmp_path / "a"))
    monkeypatch.setattr("dynaclr.data.pixels.chunk_files._OPEN", 1)
    files = ChunkFiles([str(tmp_path / "a")])
    held = files.open(0, layout, (0, 0, 0, 0, 0))
    assert held._data is None, "else this shows nothing"
    other = files.open(0, layout, (0, 0, 0, 0, 1))
    assert len(files._open) == 1
    data = held.whole()
    assert held.read(3, 5) == data[3:8]
    assert data != other.whole()
    found = np.frombuffer(decoded_by(layout.decoders(), data), layout.dtype)
    np.testing.assert_array_equal(found, pixels[0, 0, 0, :, :edge].ravel())


def test_a_shard_that_a_file_server_forgot_is_opened_again(tmp_path, monkeypatch):
    layout, forget, original = make_sharded(tmp_path / "a"), [], os.pread
    files = ChunkFiles([str(tmp_path / "a")])
    wanted = files.open(0, layout, INDICES[0]).whole()

    def forgetting(descriptor, length, offset):
        if forget:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return original(descriptor, length, offset)

    monkeypatch.setattr("dynaclr.data.pixels.chunk_files.os.pread", forgetting)
    before = files_open(tmp_path)
    forget.append(True)
    with pytest.raises(OSError, match="Stale"):
        files.open(0, layout, INDICES[0])
    forget.clear()
    file = next(iter(files._open.values()))
    assert files.open(0, layout, INDICES[0]).whole() == wanted
    assert next(iter(files._open.values())) is not file
    del file
    assert files_open(tmp_path) == before
