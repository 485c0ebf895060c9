"""Maps: what holds their cells together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from dynaclr.evaluation import projection
from dynaclr.evaluation.projection import neighbours_in_other_lineages, umap_coordinates


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 120), st.integers(2, 8))
def test_neighbours_are_the_nearest_of_other_lineages(seed, n_rows, n_neighbors):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_rows, 3))
    lineages = rng.permutation(np.arange(n_rows) // 2)
    neighbours, distances = neighbours_in_other_lineages(features, lineages, n_neighbors)
    away = cdist(features, features)
    away[lineages[:, None] == lineages] = np.inf
    np.testing.assert_array_equal(neighbours[:, 0], np.arange(n_rows))
    np.testing.assert_array_equal(neighbours[:, 1:], np.argsort(away, axis=1)[:, : n_neighbors - 1])
    expected = np.take_along_axis(cdist(features, features), neighbours, axis=1)
    np.testing.assert_allclose(distances, expected, atol=1e-6)


def test_neighbours_do_not_depend_on_how_many_rows_are_looked_at_together(monkeypatch):
    rng = np.random.default_rng(0)
    features, lineages = rng.normal(size=(100, 4)), np.arange(100) // 5
    whole, _ = neighbours_in_other_lineages(features, lineages, 15)
    monkeypatch.setattr(projection, "_CHUNK_ROWS", 7)
    in_parts, _ = neighbours_in_other_lineages(features, lineages, 15)
    np.testing.assert_array_equal(whole, in_parts)


def test_where_a_lineage_holds_much_of_the_cells_its_own_neighbours_count():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    lineages = np.repeat([0, 1], 30)
    neighbours, _ = neighbours_in_other_lineages(features, lineages, 5)
    np.testing.assert_array_equal(neighbours, np.argsort(cdist(features, features), axis=1)[:, :5])


@pytest.mark.parametrize("known", [False, True])
def test_umap_lays_out_states_not_lineages(known):
    """Cells of 40 lineages, each at its own position, that all walk along the same states."""
    rng = np.random.default_rng(1)
    n_lineages, n_frames = 40, 25
    state = np.tile(np.linspace(0, 1, n_frames), n_lineages)
    lineages = np.repeat(np.arange(n_lineages), n_frames)
    features = np.column_stack([3 * state, 0.6 * rng.normal(size=(n_lineages, 6))[lineages]])
    features += 0.02 * rng.normal(size=features.shape)
    apart = lineages if known else np.arange(len(features))
    coordinates = umap_coordinates(features, apart, 0)
    away = cdist(coordinates, coordinates)
    np.fill_diagonal(away, np.inf)
    nearest = np.argsort(away, axis=1)[:, :15]
    own = (lineages[nearest] == lineages[:, None]).mean()
    assert own < 0.3 if known else own > 0.6
