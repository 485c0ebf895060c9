"""Memory is used again as soon as nothing refers to it, and never before."""

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.data.pixels.buffers import Memory

MEGABYTE = 1 << 20


def address(array):
    return array.__array_interface__["data"][0]


def held_by(array):
    """Things that refer to an array's memory, in ways in which patches are handed on."""
    return {
        "array": lambda: array,
        "view": lambda: array[1:, ::2],
        "view of a view": lambda: array.reshape(-1)[5:].view(np.uint8)[::3],
        "tensor": lambda: torch.from_numpy(array.view(np.int16)),
        "part of a tensor": lambda: torch.from_numpy(array.view(np.int16))[1:2].flatten(),
        "buffer": lambda: memoryview(array),
    }


@pytest.mark.parametrize("kind", held_by(None))
def test_memory_is_used_again_once_nothing_refers_to_it(kind):
    memory = Memory()
    array = memory.empty((4, MEGABYTE), np.uint16)
    first = address(array)
    held = held_by(array)[kind]()
    del array
    gc.collect()
    assert address(memory.empty((4, MEGABYTE), np.uint16)) != first
    # Python's memory manager may give the new block the place of one that was freed: what tells
    # is that the held one is free now.
    del held
    gc.collect()
    again = [memory.empty((4, MEGABYTE), np.uint16) for _ in range(2)]
    assert first in [address(array) for array in again]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1 << 21), st.booleans()), max_size=20))
def test_arrays_in_use_never_overlap(steps):
    memory, held = Memory(), {}
    for number, (slot, size, strided) in enumerate(steps):
        held.pop(slot, None)
        array = memory.empty((size,), np.uint8)
        assert array.shape == (size,)
        array[...] = number
        held[slot] = number, array[::2] if strided else array
        for value, kept in held.values():
            assert (kept == value).all()


@pytest.mark.parametrize("n", [0, 3, MEGABYTE, 4 * MEGABYTE])
def test_arrays_begin_where_a_line_of_the_cache_does(n):
    memory = Memory()
    for _ in range(3):
        array = memory.empty((n, 2), np.float32)
        assert address(array) % 64 == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_threads_never_share_memory():
    memory = Memory()

    def work(number):
        for _ in range(50):
            array = memory.empty((MEGABYTE,), np.uint8)
            array[...] = number
            assert (array == number).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_small_array_does_not_take_a_large_block():
    memory = Memory()
    large = memory.empty((16 * MEGABYTE,), np.uint8)
    place = address(large)
    del large
    small = memory.empty((2 * MEGABYTE,), np.uint8)
    assert address(memory.empty((15 * MEGABYTE,), np.uint8)) == place
    assert len(small) == 2 * MEGABYTE


def test_little_is_kept_of_much_that_is_no_longer_used():
    memory = Memory()
    several = [memory.empty((MEGABYTE + number,), np.uint8) for number in range(6)]
    last = [address(array) for array in several[-2:]]
    while several:
        del several[0]
    kept = [memory.empty((MEGABYTE,), np.uint8) for _ in range(2)]
    assert sorted(map(address, kept)) == sorted(last)


def test_it_pickles_without_its_memory():
    memory = Memory()
    memory.empty((16 * MEGABYTE,), np.uint8)
    copy = pickle.loads(pickle.dumps(memory))
    assert len(pickle.dumps(memory)) < 200
    assert copy.empty((2, MEGABYTE), np.uint8).shape == (2, MEGABYTE)
