"""The hash and the permutations that all draws rest on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from dynaclr.sampling.randomness import derive_key, hash64, permute, uniform


def test_numbers_are_those_of_splitmix64():
    # The first outputs of the reference generator started at 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert hash64(1234567, np.arange(5)).tolist() == expected


@settings(deadline=None, derandomize=True)
@given(st.one_of(st.integers(1, 40), st.integers(1, 3000)), st.integers(0, 2**64 - 1))
def test_permutations_hold_each_element_once(size, key):
    elements = permute(np.arange(size), size, key)
    np.testing.assert_array_equal(np.sort(elements), np.arange(size))
    alone = permute(np.array([size // 2]), np.array([size]), key)
    assert alone[0] == elements[size // 2]


def test_permutations_of_several_sizes_and_keys_mix_in_one_call():
    sizes, keys = np.array([5, 10**12, 5, 1]), hash64(3, np.arange(4))
    index = np.array([4, 10**12 - 1, 0, 0])
    together = permute(index, sizes, keys)
    alone = [permute(index[i : i + 1], sizes[i], keys[i])[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)
    assert np.all((together >= 0) & (together < sizes))


@pytest.mark.parametrize("size", [2, 3, 5, 8, 30, 101])
def test_every_position_of_a_permutation_is_uniform(size):
    keys = hash64(9, np.arange(20_000))
    for position in range(min(size, 6)):
        elements = permute(np.full(keys.size, position), size, keys)
        assert chisquare(np.bincount(elements, minlength=size)).pvalue > 1e-5


@pytest.mark.parametrize("size", [30, 101])
def test_neighbouring_positions_of_a_permutation_are_independent(size):
    keys = hash64(10, np.arange(40_000))
    first, second = (permute(np.full(keys.size, position), size, keys) for position in (3, 4))
    distance = (second - first) % size
    assert chisquare(np.bincount(distance, minlength=size)[1:]).pvalue > 1e-5


def test_uniform_numbers_are_uniform():
    numbers = uniform(derive_key(1, 2), np.arange(100_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert chisquare(np.histogram(numbers, 50, (0, 1))[0]).pvalue > 1e-5


def test_keys_depend_on_every_word_and_on_their_order():
    keys = {derive_key(*words) for words in [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1,)]}
    assert len(keys) == 7
