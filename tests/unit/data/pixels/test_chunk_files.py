"""The bytes of a chunk are found, and no file stays open longer than it is read."""

import errno
import os
import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.data.pixels.chunk_files import ChunkFiles
from dynaclr.data.pixels.chunk_reader import Boxes, ChunkReader
from dynaclr.data.statistics.frames import FrameCounter
from dynaclr.io.array_layout import layout_of
from dynaclr.io.zarr_metadata import read_array_metadata

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


def read_every_chunk(path, layout, threads=1):
    """Chunks that cannot be read, of one pixel of each."""
    reader = ChunkReader([str(path)], [layout], np.zeros(1, int), 0, threads)
    start = np.array(INDICES) * layout.chunk
    target = np.zeros((len(start), 5), np.int64)
    target[:, 0] = np.arange(len(start))
    boxes = Boxes(np.zeros(len(start), np.int64), start, start + 1, target)
    return reader.read(boxes, np.zeros((len(start), 1, 1, 1, 1), np.uint16))


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
    n_bytes=st.integers(0, 2 * CHUNK_BYTES),
    offset=st.integers(0, 3 * CHUNK_BYTES),
    length=st.integers(0, 3 * CHUNK_BYTES),
)
def test_a_file_is_read_to_its_end_however_long_it_is(alone, n_bytes, offset, length):
    path, layout = alone
    name, _ = layout.file_of(INDICES[3])
    data = np.random.default_rng(n_bytes).bytes(n_bytes)
    (path / name).write_bytes(data)
    with ChunkFiles([str(path)]).open(0, layout, INDICES[3]) as stored:
        assert stored.whole() == data
        assert stored.read(offset, length) == data[offset : offset + length]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [make, make_sharded])
@pytest.mark.parametrize("damage", [None, "truncated", "spoilt"])
def test_no_file_stays_open_whether_or_not_it_can_be_read(kind, damage, threads, tmp_path):
    layout = kind(tmp_path / "a")
    if damage:
        spoil(tmp_path / "a", layout, damage)
    chunks = read_every_chunk(tmp_path / "a", layout, threads)
    assert len(chunks) == (len(INDICES) if damage else 0)
    assert files_open(tmp_path) == []


@pytest.mark.parametrize("damage", ["incomplete", "damaged"])
def test_a_shard_without_a_sound_index_is_named(tmp_path, damage):
    layout = make_sharded(tmp_path / "a")
    name, _ = layout.file_of(INDICES[0])
    shard = tmp_path / "a" / name
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content if damage == "damaged" else content[:20])
    files = ChunkFiles([str(tmp_path / "a")])
    with (
        pytest.raises(ValueError, match=f"the index of the shard {shard} is {damage}"),
        files.open(0, layout, INDICES[0]),
    ):
        pass


def test_a_shard_that_was_replaced_is_read_by_its_own_index(tmp_path):
    layout = make_sharded(tmp_path / "a")
    name, _ = layout.file_of(INDICES[0])
    files = ChunkFiles([str(tmp_path / "a")])
    with files.open(0, layout, INDICES[1]) as stored:
        before = stored.whole()
    # Chunks of equal pixels are shorter, so that they lie elsewhere.
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    zarr.open_array(tmp_path / "b")[...] = 7
    os.replace(tmp_path / "b" / name, tmp_path / "a" / name)
    with files.open(0, layout, INDICES[1]) as stored:
        found = stored.whole()
    with ChunkFiles([str(tmp_path / "a")]).open(0, layout, INDICES[1]) as stored:
        assert found == stored.whole() != before
    assert len(files._indexes) == 1


def test_a_shard_that_a_file_server_forgot_is_read_anew(tmp_path, monkeypatch):
    layout = make_sharded(tmp_path / "a")
    files = ChunkFiles([str(tmp_path / "a")])
    with files.open(0, layout, INDICES[0]) as stored:
        wanted = stored.whole()

    def forgetting(descriptor, length, offset):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr("dynaclr.data.pixels.chunk_files.os.pread", forgetting)
        with pytest.raises(OSError, match="Stale"), files.open(0, layout, INDICES[0]) as stored:
            stored.whole()
    assert not files._indexes
    with files.open(0, layout, INDICES[0]) as stored:
        assert stored.whole() == wanted


def spoil(path, layout, damage):
    """Lose all chunks of an array; a shard keeps its index, at the end."""
    for name in {layout.file_of(index)[0] for index in INDICES}:
        data = (path / name).read_bytes()
        n = layout.index_bytes if layout.shard is not None else 0
        head = b"" if damage == "truncated" else bytes(len(data) - n)
        (path / name).write_bytes(head + data[len(data) - n :])


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_frames_that_are_skipped_leave_no_file_open(dtype, tmp_path, monkeypatch):
    # The array is no plate's: there is no field of view to name.
    monkeypatch.setattr("dynaclr.data.statistics.frames.message_of", lambda *_: "unreadable")
    layout = make(tmp_path / "a", dtype=dtype)
    spoil(tmp_path / "a", layout, "spoilt")
    reader = ChunkReader([str(tmp_path / "a")], [layout], np.zeros(1, int), 0, 1)
    for _ in range(3):
        assert FrameCounter(reader, skip=True).count(0, 0, [0])[0][0].pixels.n == 0
        assert files_open(tmp_path) == []


def test_few_files_are_mapped_and_each_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr("dynaclr.data.pixels.chunk_files._MAPPED", 1)
    layout = make(tmp_path / "a", shards=(1, 1, 1, N * EDGE, N * EDGE // 2), compressors=None)
    first, other = INDICES[0], INDICES[N - 1]
    assert layout.file_of(first)[0] != layout.file_of(other)[0]
    pixels = zarr.open_array(tmp_path / "a")[...]
    reader = ChunkReader([str(tmp_path / "a")], [layout], np.zeros(1, int), 0, 1)
    for index in (first, other, first, other, first):
        y, x = index[3] * EDGE, index[4] * EDGE
        chunk = reader.whole(0, index)[0, 0, 0]
        np.testing.assert_array_equal(chunk, pixels[0, 0, 0, y : y + EDGE, x : x + EDGE])
        del chunk
        assert len(files_open(tmp_path)) <= 1
