"""Bins for any values, also for such as numpy makes none for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.figures.style import bin_edges

numbers = st.floats(-1e12, 1e12)


@given(numbers, st.lists(st.one_of(numbers, st.floats(-1e-9, 1e-9)), min_size=1, max_size=5))
def test_every_value_is_in_a_bin_of_some_width(start, steps):
    values = start + np.array([0.0, *steps])
    edges = bin_edges(values, 50)
    assert (np.diff(edges) > 0).all()
    counts, _ = np.histogram(values, edges)
    assert counts.sum() == len(values)
