"""Blosc buffers decode to what was encoded, whole and in part, from every writer."""

import contextlib
import itertools
import struct
import threading

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.pixels.blosc import BloscBlocks, decode_whole, decoder

SHUFFLES = (numcodecs.Blosc.NOSHUFFLE, numcodecs.Blosc.SHUFFLE, numcodecs.Blosc.BITSHUFFLE)


@pytest.fixture(scope="module", autouse=True)
def imported_before():
    """Hypothesis times its examples, not the import."""
    decoder()


@st.composite
def encoded(draw) -> tuple[bytes, np.ndarray]:
    """A buffer as C-Blosc writes it, and the bytes that are in it."""
    item = draw(st.sampled_from([1, 2, 3, 4, 8]))
    n = draw(st.integers(1, 40_000)) * item
    values = draw(st.sampled_from([1, 30, 256]))
    plain = np.random.default_rng(draw(st.integers(0, 99))).integers(0, values, n, np.uint8)
    codec = numcodecs.Blosc(
        draw(st.sampled_from(numcodecs.blosc.list_compressors())),
        draw(st.integers(0, 9)),
        draw(st.sampled_from(SHUFFLES)),
        draw(st.sampled_from([0, 1024, 4096, 65536])),
    )
    return codec.encode(plain.view(f"V{item}")), plain


def blocks_of(buffer: bytes, n_bytes: int) -> BloscBlocks:
    return BloscBlocks(lambda at, n: buffer[at : at + n], n_bytes)


def assert_decodes(buffer: bytes, plain: np.ndarray, wanted: np.ndarray) -> None:
    blocks, out = blocks_of(buffer, plain.size), np.zeros(plain.size, np.uint8)
    blocks.decode(wanted, out)
    keep = np.repeat(wanted, blocks.block_bytes)[: plain.size]
    np.testing.assert_array_equal(out[keep], plain[keep])


@given(case=encoded(), seed=st.integers(0, 99))
def test_what_c_blosc_wrote_is_read_whole_and_in_part(case, seed):
    buffer, plain = case
    np.testing.assert_array_equal(decode_whole(buffer, plain.size), plain)
    n_blocks = blocks_of(buffer, plain.size).n_blocks
    assert_decodes(buffer, plain, np.ones(n_blocks, bool))
    assert_decodes(buffer, plain, np.random.default_rng(seed).random(n_blocks) < 0.4)


@given(case=encoded(), data=st.data())
def test_a_damaged_buffer_is_reported_in_one_way(case, data):
    buffer, plain = case
    damaged = bytearray(buffer[: data.draw(st.integers(0, len(buffer)), "bytes left")])
    positions = st.one_of(st.integers(0, 40), st.integers(0, len(buffer)))
    for at, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=4)):
        damaged[at : at + 1] = bytes([value]) if at < len(damaged) else b""
    # Blosc has no checksum: some damage is not seen, but none may raise another kind of error.
    with contextlib.suppress(ValueError, RuntimeError):
        decode_whole(bytes(damaged), plain.size)
    with contextlib.suppress(ValueError, RuntimeError):
        blocks = blocks_of(bytes(damaged), plain.size)
        blocks.decode(np.ones(blocks.n_blocks, bool), np.zeros(plain.size, np.uint8))


@pytest.mark.parametrize(("at", "value"), [(4, 2**32 - 1), (8, 0), (12, 2**32 - 1)])
def test_a_header_that_cannot_be_is_reported(at, value):
    plain = np.random.default_rng(0).integers(0, 30, 400_000, np.uint8)
    buffer = bytearray(numcodecs.Blosc("zstd", 1).encode(plain))
    struct.pack_into("<I", buffer, at, value)
    with pytest.raises(ValueError, match="bytes"):
        blocks_of(bytes(buffer), plain.size)


def reversed_blocks(buffer: bytes) -> bytes:
    """The same Blosc buffer with its blocks in the opposite order, as threads may write them."""
    block, end = struct.unpack_from("<II", buffer, 8)
    n = -(-struct.unpack_from("<I", buffer, 4)[0] // block)
    starts = [*struct.unpack_from(f"<{n}i", buffer, 16), end]
    bodies = [buffer[a:b] for a, b in itertools.pairwise(starts)]
    behind = np.cumsum([len(body) for body in reversed(bodies)])[::-1] - [len(b) for b in bodies]
    offsets = (behind + 16 + 4 * n).astype("<i4").tobytes()
    return buffer[:16] + offsets + b"".join(reversed(bodies))


def test_blocks_of_a_buffer_in_any_order_and_stored_as_they_are():
    rng = np.random.default_rng(0)
    codec = numcodecs.Blosc("zstd", 1)
    compressed = codec.encode(rng.integers(0, 50, 200_001, dtype=np.uint16))
    for buffer in (compressed, reversed_blocks(compressed), codec.encode(rng.bytes(400_001))):
        whole = np.frombuffer(numcodecs.blosc.decompress(buffer), np.uint8)
        n_blocks = blocks_of(buffer, whole.size).n_blocks
        assert n_blocks > 3
        for _ in range(20):
            assert_decodes(buffer, whole, rng.random(n_blocks) < 0.4)


def test_other_threads_run_while_a_buffer_is_decoded():
    plain = np.random.default_rng(0).integers(0, 50, 64 << 20, np.uint8)
    buffer = numcodecs.Blosc("zstd", 1).encode(plain)
    begun, done = threading.Event(), threading.Event()

    def decode() -> None:
        begun.set()
        decode_whole(buffer, plain.size)
        done.set()

    thread = threading.Thread(target=decode)
    thread.start()
    begun.wait()
    turns = 0
    while not done.wait(0.001):
        turns += 1
    thread.join()
    # Were the interpreter's lock held, this thread would have had to wait until the end.
    assert turns > 10
