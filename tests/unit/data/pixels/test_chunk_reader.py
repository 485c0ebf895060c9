"""Boxes of any Zarr array equal its slices; chunks are decoded once, and no further than needed."""

import errno
import os
import pickle
import resource
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numcodecs
import numpy as np
import pytest
import torch
import zarr
from tests.counting import opened_by
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from dynaclr.config import UserError
from dynaclr.data.pixels.blosc import BloscBlocks
from dynaclr.data.pixels.chunk_cache import ChunkCache, DecodedChunk
from dynaclr.data.pixels.chunk_files import ChunkFiles
from dynaclr.data.pixels.chunk_reader import Boxes, ChunkReader
from dynaclr.io.array_layout import layout_of
from dynaclr.io.zarr_metadata import read_array_metadata

SHAPE, CHUNKS = (3, 2, 3, 70, 61), (2, 2, 1, 32, 50)


def v2(dtype, compressor, **options):
    return {
        "zarr_format": 2,
        "dtype": dtype,
        "chunks": CHUNKS,
        "compressors": compressor,
        **options,
    }


def v3(dtype, *codecs, endian="little"):
    return {"zarr_format": 3, "dtype": dtype, "codecs": [BytesCodec(endian=endian), *codecs]}


def sharded(dtype, *codecs, **options):
    inner = ShardingCodec(chunk_shape=(1, 1, 1, 16, 25), codecs=[BytesCodec(), *codecs], **options)
    return {"zarr_format": 3, "dtype": dtype, "codecs": [inner]}


ARRAYS = {
    "v2-blosc-zstd-bits": v2("<u2", numcodecs.Blosc("zstd", 1, numcodecs.Blosc.BITSHUFFLE)),
    "v2-blosc-lz4-bytes": v2("<f4", numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE)),
    "v2-blosc-plain": v2("<u2", numcodecs.Blosc("lz4", 5, numcodecs.Blosc.NOSHUFFLE)),
    "v2-big-endian": v2(">u2", numcodecs.Blosc()),
    "v2-zstd": v2("<u2", numcodecs.Zstd()),
    "v2-gzip": v2("<u2", numcodecs.GZip()),
    "v2-zlib": v2("<u2", numcodecs.Zlib()),
    "v2-lzma": v2("<u2", numcodecs.LZMA()),
    "v2-raw": v2("|u1", None),
    "v2-gzip-fortran": v2(">f4", numcodecs.GZip(), order="F"),
    "v2-blosc-fortran": v2("<u2", numcodecs.Blosc(), order="F"),
    "v2-filter": v2("<i2", numcodecs.Zstd(), filters=[numcodecs.Delta("<i2")]),
    "v3-blosc": v3("uint16", BloscCodec(typesize=2)),
    "v3-big-endian-zstd-crc": v3("uint16", ZstdCodec(), Crc32cCodec(), endian="big"),
    "v3-raw": v3("float32"),
    "v3-sharded-blosc": sharded("uint16", BloscCodec(typesize=2)),
    "v3-sharded-gzip": sharded("uint16", GzipCodec()),
    "v3-sharded-raw-index-first": sharded("uint16", index_location="start"),
    "v3-sharded-no-index-crc": sharded("float32", GzipCodec(), index_codecs=[BytesCodec()]),
}


def make(path, options, pixels=None) -> zarr.Array:
    """An array with random pixels; some are repeated, so that some blocks compress and some not."""
    options = dict(options)
    dtype = np.dtype(options.pop("dtype"))
    if pixels is None:
        pixels = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
        pixels[..., :20] = 7
    if options["zarr_format"] == 2:
        array = zarr.create_array(path, shape=SHAPE, dtype=dtype, **options)
    else:
        codecs = options.pop("codecs")
        array = zarr.create(store=path, shape=SHAPE, chunks=CHUNKS, dtype=dtype, codecs=codecs)
    array[...] = pixels
    return array


def reader_of(*paths, **options) -> ChunkReader:
    layouts = [layout_of(read_array_metadata(path)) for path in paths]
    return ChunkReader(
        [str(path) for path in paths],
        layouts,
        np.arange(len(paths)),
        **({"cache_bytes": 1 << 20, "threads": 2} | options),
    )


def some_boxes(n=60, arrays=1, seed=1, side=(2, 2, 20, 18)) -> Boxes:
    rng = np.random.default_rng(seed)
    side = np.array([1, *side])
    start = rng.integers(0, np.array(SHAPE) - side + 1, (n, 5))
    target = np.zeros((n, 5), np.int64)
    target[:, 0] = np.arange(n)
    return Boxes(rng.integers(0, arrays, n), start, start + side, target)


def slices(boxes: Boxes, *arrays: zarr.Array) -> np.ndarray:
    pixels = [array[...] for array in arrays]
    return np.concatenate(
        [
            pixels[number][tuple(map(slice, start, stop))]
            for number, start, stop in zip(boxes.array, boxes.start, boxes.stop, strict=True)
        ]
    )


@pytest.mark.parametrize("options", ARRAYS.values(), ids=ARRAYS.keys())
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_boxes_equal_slices_to_the_bit(options, cache_bytes, tmp_path):
    array = make(tmp_path / "a", options)
    reader = reader_of(tmp_path / "a", cache_bytes=cache_bytes)
    for seed in range(3):
        boxes = some_boxes(seed=seed)
        wanted = slices(boxes, array)
        out = np.zeros(wanted.shape, np.dtype(options["dtype"]).newbyteorder("="))
        assert reader.read(boxes, out) == []
        np.testing.assert_array_equal(out, wanted)
        assert reader._cache.n_bytes <= cache_bytes


def test_arrays_of_several_layouts_are_read_together(tmp_path):
    chosen = ["v2-blosc-zstd-bits", "v3-sharded-blosc", "v2-raw"]
    arrays = [make(tmp_path / name, ARRAYS[name]) for name in chosen]
    boxes = some_boxes(arrays=3)
    wanted = slices(boxes, *[array for array in arrays])
    out = np.zeros(wanted.shape, np.float32)
    assert reader_of(*[tmp_path / name for name in chosen]).read(boxes, out) == []
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("name", ["v2-blosc-zstd-bits", "v2-zstd", "v3-sharded-blosc"])
def test_a_chunk_is_opened_once_however_many_boxes_need_it(name, tmp_path, monkeypatch):
    make(tmp_path / "a", ARRAYS[name])
    opened = opened_by(monkeypatch)
    boxes = some_boxes(200)
    reader = reader_of(tmp_path / "a", cache_bytes=1 << 24)
    reader.read(boxes, np.zeros((200, 2, 2, 20, 18), np.uint16))
    assert len(opened) == len(set(opened))
    # What a second batch needs is there already, unless blocks of a chunk were left out.
    before = len(opened)
    reader.read(boxes, np.zeros((200, 2, 2, 20, 18), np.uint16))
    assert len(opened) == before


def test_only_blocks_that_are_needed_are_decoded(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 200, (1, 1, 1, 600, 500)).astype("<u2")
    zarr.create_array(
        tmp_path / "a",
        data=pixels,
        chunks=pixels.shape,
        compressors=numcodecs.Blosc("zstd", 1, numcodecs.Blosc.BITSHUFFLE),
        zarr_format=2,
    )
    (file,) = (f for f in (tmp_path / "a").iterdir() if f.name[0] != ".")
    blocks = BloscBlocks(lambda at, n: file.read_bytes()[at : at + n], pixels.nbytes)
    assert blocks.n_blocks > 8
    decoded, original = [], BloscBlocks.decode

    def counting(self, wanted, out):
        decoded.append(wanted.sum())
        original(self, wanted, out)

    monkeypatch.setattr(BloscBlocks, "decode", counting)
    start, side = np.array([[0, 0, 0, 100, 5]]), np.array([1, 1, 1, 6, 20])
    boxes = Boxes(np.array([0]), start, start + side, np.zeros((1, 5), np.int64))
    reader = reader_of(tmp_path / "a")
    out = np.zeros((1, 1, 1, 6, 20), np.uint16)
    reader.read(boxes, out)
    # Six rows of a thousand bytes lie in one block or two.
    assert decoded in ([1], [2])
    reader.read(boxes, out)
    assert len(decoded) == 1, "the blocks are kept"
    down = np.array([0, 0, 0, 3, 0])
    reader.read(Boxes(boxes.array, start + down, boxes.stop + down, boxes.target), out)
    assert sum(decoded) <= 2, "only what is new is decoded"
    np.testing.assert_array_equal(out[0, 0, 0], pixels[0, 0, 0, 103:109, 5:25])


def chunk_files(path) -> list:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if file.name[0] not in ".z"]


def cut_off(file) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def garble(file) -> None:
    data = bytearray(file.read_bytes())
    data[12:-200:7] = bytes(len(data[12:-200:7]))
    file.write_bytes(data)


DAMAGED = [
    *("v2-blosc-zstd-bits", "v2-raw", "v2-zstd", "v2-gzip", "v2-zlib", "v2-lzma"),
    *("v3-sharded-blosc", "v3-sharded-gzip", "v3-big-endian-zstd-crc"),
]


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        (name, damage, reason)
        for name in DAMAGED
        for damage, reason in ((cut_off, "damaged"), (garble, "damaged"), (os.unlink, "missing"))
        # Bytes that are stored as they are do not show damage.
        if (name, damage) != ("v2-raw", garble)
    ],
)
def test_missing_and_damaged_chunks_are_reported(name, damage, reason, tmp_path):
    array = make(tmp_path / "a", ARRAYS[name])
    boxes = some_boxes()
    wanted = slices(boxes, array)
    damage(chunk_files(tmp_path / "a")[0])
    out = np.zeros(wanted.shape, np.uint16)
    chunks = reader_of(tmp_path / "a").read(boxes, out)
    assert chunks
    assert all(reason in chunk.reason for chunk in chunks)
    spoilt = np.unique(np.concatenate([chunk.boxes for chunk in chunks]))
    assert 0 < len(spoilt) < len(boxes)
    good = np.setdiff1d(np.arange(len(boxes)), spoilt)
    np.testing.assert_array_equal(out[good], wanted[good])
    for chunk in chunks:
        start, stop = boxes.start[chunk.boxes[0]], boxes.stop[chunk.boxes[0]]
        assert (start <= chunk.pixel).all()
        assert (chunk.pixel < stop).all()


def test_missing_chunks_count_as_empty_where_the_plate_says_so(tmp_path):
    pixels = np.zeros(SHAPE, np.uint16)
    pixels[0] = 5
    array = make(
        tmp_path / "a", ARRAYS["v2-zstd"] | {"config": {"write_empty_chunks": False}}, pixels
    )
    boxes = some_boxes()
    wanted = slices(boxes, array)
    out = np.zeros(wanted.shape, np.uint16)
    assert reader_of(tmp_path / "a").read(boxes, out), "unreadable by default"
    assert reader_of(tmp_path / "a", may_lack=np.array([True])).read(boxes, out) == []
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("name", ["v3-sharded-blosc", "v3-sharded-raw-index-first"])
def test_what_a_shard_was_written_without_is_empty_and_not_unreadable(name, tmp_path):
    # A writer leaves out inner chunks of nothing but the fill value; a missing shard is unreadable.
    pixels = np.zeros(SHAPE, np.uint16)
    pixels[..., :20], pixels[..., 50:] = 5, 6
    array = make(tmp_path / "a", ARRAYS[name], pixels)
    boxes = some_boxes()
    wanted = slices(boxes, array)
    assert (wanted == 0).any()
    out = np.full(wanted.shape, 9, np.uint16)
    reader = reader_of(tmp_path / "a")
    assert reader.read(boxes, out) == []
    np.testing.assert_array_equal(out, wanted)
    assert (reader.whole(0, (0, 0, 0, 0, 1)) == 0).all()
    chunk_files(tmp_path / "a")[0].unlink()
    assert reader_of(tmp_path / "a").read(boxes, out)


@pytest.mark.parametrize(
    ("code", "name"), [(errno.EMFILE, "Too many"), (errno.EACCES, "Permission")]
)
def test_a_machine_out_of_resources_is_not_taken_for_a_damaged_chunk(
    code, name, tmp_path, monkeypatch
):
    make(tmp_path / "a", ARRAYS["v2-zstd"])

    def refuse(path, flags):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr("dynaclr.data.pixels.chunk_files.os.open", refuse)
    with pytest.raises(UserError, match=f"{name}.*may be whole"):
        reader_of(tmp_path / "a").read(some_boxes(), np.zeros((60, 2, 2, 20, 18), np.uint16))


@pytest.mark.parametrize(
    "name", ["v2-raw", "v2-zstd", "v3-sharded-raw-index-first", "v3-sharded-blosc"]
)
def test_many_arrays_leave_descriptors_over(name, tmp_path):
    make(tmp_path / "0", ARRAYS[name])
    for number in range(1, 400):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
    paths = [tmp_path / str(number) for number in range(400)]
    layout = layout_of(read_array_metadata(paths[0]))
    readers = [
        ChunkReader(list(map(str, paths)), [layout], np.zeros(400, int), 1 << 20) for _ in range(2)
    ]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    boxes = some_boxes(400)
    boxes = Boxes(np.arange(400), boxes.start, boxes.stop, boxes.target)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        # As in a process that trains and validates, both are there at once.
        for reader in [pickle.loads(pickle.dumps(reader)) for reader in readers]:
            assert reader.read(boxes, np.zeros((400, 2, 2, 20, 18), np.uint16)) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_chunks_are_decoded_at_the_same_time(tmp_path, monkeypatch):
    make(tmp_path / "a", ARRAYS["v2-zstd"])
    together, original = threading.Barrier(2, timeout=20), ChunkFiles.open

    def meeting(self, array, layout, index):
        # Passed only by two threads that are here at once.
        together.wait()
        return original(self, array, layout, index)

    monkeypatch.setattr(ChunkFiles, "open", meeting)
    start = np.array([[0, 0, 0, 0, 0], [2, 0, 0, 0, 0]])
    boxes = Boxes(np.zeros(2, int), start, start + 1, np.array([[0] * 5, [1, 0, 0, 0, 0]]))
    assert reader_of(tmp_path / "a").read(boxes, np.zeros((2, 1, 1, 1, 1), np.uint16)) == []


def test_the_cache_drops_what_was_used_longest_ago(tmp_path, monkeypatch):
    array = make(tmp_path / "a", ARRAYS["v2-zstd"])
    opened = opened_by(monkeypatch)
    chunk_bytes = layout_of(read_array_metadata(tmp_path / "a")).chunk_bytes
    reader = reader_of(tmp_path / "a", cache_bytes=2 * chunk_bytes, threads=1)
    for plane in (0, 1, 0, 2, 0, 1):
        start, side = np.array([[0, 0, plane, 0, 0]]), np.array([1, 1, 1, 4, 4])
        out = np.zeros((1, 1, 1, 4, 4), np.uint16)
        reader.read(Boxes(np.zeros(1, int), start, start + side, 0 * start), out)
        np.testing.assert_array_equal(out[0, 0, 0], array[0, 0, plane, :4, :4])
        assert reader._cache.n_bytes <= 2 * chunk_bytes
    # Of plane 0, used in between, nothing is read again; plane 1 had to leave for plane 2.
    assert [index[2] for _, index in opened] == [0, 1, 2, 1]


def test_frames_of_one_chunk_may_be_in_focus_in_different_planes(tmp_path, monkeypatch):
    shape, chunks = (4, 1, 12, 8, 8), (4, 1, 2, 8, 8)
    zarr.create_array(tmp_path / "a", shape=shape, chunks=chunks, dtype="u2")[...] = 1
    opened = opened_by(monkeypatch)
    reader = reader_of(tmp_path / "a", cache_bytes=0, threads=1)
    reader.keep_frames(2, channels=1, planes=2)
    for t, plane in enumerate((1, 5, 9, 1)):
        start, side = np.array([[t, 0, plane, 0, 0]]), np.array([1, 1, 2, 8, 8])
        out = np.zeros((1, 1, 2, 8, 8), np.uint16)
        reader.read(Boxes(np.zeros(1, int), start, start + side, 0 * start), out)
        assert (out == 1).all()
    assert len(opened) == len(set(opened)) == 6


@pytest.mark.parametrize(
    ("channels", "planes", "chunks"), [(1, 1, 1), (3, 1, 3), (9, 1, 5), (1, 3, 2)]
)
def test_what_is_kept_of_a_frame_is_what_is_read_of_it(channels, planes, chunks, tmp_path):
    options = {"shape": (4, 5, 40, 8, 8), "chunks": (1, 1, 4, 8, 8), "dtype": "u2"}
    zarr.create_array(tmp_path / "a", **options)
    reader = reader_of(tmp_path / "a", cache_bytes=0, threads=2)
    reader.keep_frames(2, channels, planes)
    # Each of the two threads may be late with another chunk.
    assert reader.cache_bytes == (2 * chunks + 2) * (4 * 8 * 8 * 2)


def test_a_chunk_stays_until_a_thread_that_is_held_up_comes_to_it(tmp_path, monkeypatch):
    make(tmp_path / "a", ARRAYS["v2-zstd"])
    opened = opened_by(monkeypatch)
    chunk_bytes = layout_of(read_array_metadata(tmp_path / "a")).chunk_bytes
    reader = reader_of(tmp_path / "a", cache_bytes=chunk_bytes)
    copy, others = ChunkReader._copy_chunks, threading.Semaphore(0)

    def first_comes_last(self, plan, cached, out, chunks):
        if chunks.start == 0:
            assert others.acquire(timeout=20)
        unreadable = copy(self, plan, cached, out, chunks)
        if chunks.stop == len(plan.number):
            others.release()
        return unreadable

    def read(planes):
        start = np.array([[0, 0, plane, 0, 0] for plane in planes])
        target = np.array([[number, 0, 0, 0, 0] for number in range(len(planes))])
        boxes = Boxes(np.zeros(len(planes), int), start, start + 1, target)
        assert reader.read(boxes, np.zeros((len(planes), 1, 1, 1, 1), np.uint16)) == []

    read([0])
    monkeypatch.setattr(ChunkReader, "_copy_chunks", first_comes_last)
    read([0, 1, 2])
    assert [index[2] for _, index in opened] == [0, 1, 2]


def test_chunks_that_are_in_use_count_towards_the_limit():
    cache = ChunkCache(4 * 100)
    chunks = {n: DecodedChunk(np.zeros((1, 1, 1, 1, 100), np.uint8)) for n in range(10)}
    for number in range(4):
        cache.put(number, chunks[number])
    taken = cache.take([0, 1, 2, 9])
    assert sorted(taken) == [0, 1, 2]
    for number in (4, 5, 6):
        cache.put(number, chunks[number])
        assert len(taken) + len(cache._chunks) == 4
    # One comes back, one can be read no more, one is still in use.
    cache.put(0, chunks[0])
    cache.release([1])
    assert sorted(cache._chunks) == [0, 6]
    cache.put(7, chunks[7])
    cache.put(8, chunks[8])
    assert list(cache._chunks) == [0, 7, 8]
    assert cache.n_bytes == cache.limit


def test_no_group_of_chunks_is_begun_after_an_error(tmp_path, monkeypatch):
    make(tmp_path / "a", ARRAYS["v2-zstd"])
    begun, raised = [], threading.Event()

    def failing(self, plan, cached, out, chunks):
        begun.append(chunks.start)
        if chunks.start == 0:
            raise KeyError("a mistake")
        assert raised.wait(timeout=20)
        return []

    monkeypatch.setattr(ChunkReader, "_copy_chunks", failing)
    reader = reader_of(tmp_path / "a")
    with pytest.raises(KeyError, match="a mistake"):
        read_all(reader)
    raised.set()
    reader._pool.shutdown()
    # Besides the first group, the one beside it and the one after it.
    assert len(begun) <= 3
    assert len(reader._plan(some_boxes()).number) > 10


def test_boxes_beyond_the_output_are_refused(tmp_path):
    make(tmp_path / "a", ARRAYS["v2-raw"])
    start = np.zeros((1, 5), np.int64)
    boxes = Boxes(np.zeros(1, int), start, np.array([[1, 1, 1, 5, 4]]), start)
    with pytest.raises(IndexError, match="beyond the output"):
        reader_of(tmp_path / "a").read(boxes, np.zeros((1, 1, 1, 4, 4), np.uint8))


def read_all(reader: ChunkReader) -> np.ndarray:
    out = np.zeros((60, 2, 2, 20, 18), np.uint16)
    assert reader.read(some_boxes(), out) == []
    return out


def test_forked_process_and_threads_and_copies_read_the_same(tmp_path, monkeypatch):
    make(tmp_path / "a", ARRAYS["v3-sharded-blosc"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    reader = reader_of(tmp_path / "a", threads=None)
    wanted = read_all(reader)
    assert reader._n_threads == 3
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: read_all(reader), range(8)):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(read_all(pickle.loads(pickle.dumps(reader))), wanted)
    child = os.fork()
    if child == 0:
        # As a loader does in its workers. Nothing but the exit code leaves this process.
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        equal = np.array_equal(read_all(reader), wanted)
        os._exit(0 if equal and reader._n_threads == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_keys_of_zarr_2_in_an_array_of_zarr_3(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, SHAPE, dtype=np.uint16)
    for separator in (".", "/"):
        path = tmp_path / f"a{ord(separator)}"
        key = {"name": "v2", "separator": separator}
        array = zarr.create_array(path, data=pixels, chunks=CHUNKS, chunk_key_encoding=key)
        boxes = some_boxes()
        out = np.zeros((60, 2, 2, 20, 18), np.uint16)
        assert reader_of(path).read(boxes, out) == []
        np.testing.assert_array_equal(out, slices(boxes, array))


SHARDING = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [1] * 5,
        "codecs": [{"name": "bytes"}],
        "index_codecs": [{"name": "bytes"}],
    },
}


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ([{"name": "bytes"}, {"name": "jpeg"}], "codec 'jpeg' is not supported"),
        ([SHARDING, {"name": "gzip"}], r"codecs \['gzip'\] of whole shards are not supported"),
        (
            [{"name": "transpose", "configuration": {"order": [4, 3, 2, 1, 0]}}, SHARDING],
            "sharding",
        ),
    ],
)
def test_unsupported_arrays_are_refused(codecs, message):
    metadata = {
        "zarr_format": 3,
        "shape": [1] * 5,
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1] * 5}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
    }
    with pytest.raises(ValueError, match=message):
        layout_of(metadata)


def test_transposed_chunks_are_read_in_order(tmp_path):
    options = {
        "zarr_format": 3,
        "dtype": "uint16",
        "codecs": [TransposeCodec(order=(4, 2, 0, 3, 1)), BytesCodec(), ZstdCodec()],
    }
    array = make(tmp_path / "a", options)
    boxes = some_boxes()
    wanted = slices(boxes, array)
    out = np.zeros(wanted.shape, np.uint16)
    assert reader_of(tmp_path / "a").read(boxes, out) == []
    np.testing.assert_array_equal(out, wanted)
