"""Corrections: moments after them, and optimal transport against its closed forms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dynaclr.evaluation.batch_correction import (
    common_moments,
    corrected_variants,
    gaussian_transport,
    transport_controls,
    untransported,
    zscore_by_experiment,
)


def covariance(seed, d=4):
    root = np.random.default_rng(seed).normal(size=(d, d + 2))
    return root @ root.T


def test_the_transport_matrix_is_the_published_one():
    source, target = covariance(0), covariance(1)
    matrix = gaussian_transport(source, target)
    root = np.real(sqrtm(source))
    inverse = np.linalg.inv(root)
    expected = inverse @ np.real(sqrtm(root @ target @ root)) @ inverse
    np.testing.assert_allclose(matrix, expected, atol=1e-8)
    np.testing.assert_allclose(matrix @ source @ matrix, target, atol=1e-8)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)


def test_in_one_dimension_it_is_the_ratio_of_deviations():
    assert gaussian_transport(np.array([[4.0]]), np.array([[9.0]])) == pytest.approx(1.5)


def test_directions_without_variance_stay():
    matrix = gaussian_transport(np.diag([1.0, 0.0]), np.diag([4.0, 4.0]))
    np.testing.assert_allclose(matrix, np.diag([2.0, 1.0]))


@pytest.fixture
def batches():
    """Two experiments that differ by a linear map; half of the cells are controls."""
    rng = np.random.default_rng(0)
    control = np.arange(4000) % 2 == 0
    cells = rng.normal(size=(4000, 3)) + np.where(control, 0.0, 3.0)[:, None] * [1, 0, 0]
    experiments = np.repeat(np.array(["a", "b"], dtype=object), 2000)
    moved = np.where((experiments == "a")[:, None], cells, cells * [2.0, 0.5, 1.0] + 5.0)
    return cells, moved, experiments, control


def transport(moved, experiments, control):
    """Everything moved to the controls of experiment a."""
    first = experiments == "a"
    target = common_moments(moved[first], experiments[first], control[first])
    return transport_controls(moved, experiments, control, target)


def test_transport_undoes_a_scaling_and_keeps_what_controls_do_not_show(batches):
    cells, moved, experiments, control = batches
    corrected = transport(moved, experiments, control)
    np.testing.assert_allclose(corrected[experiments == "b"], cells[experiments == "b"], atol=0.35)
    np.testing.assert_allclose(corrected[experiments == "a"], cells[experiments == "a"], atol=1e-6)
    gap = corrected[(experiments == "b") & ~control].mean(axis=0)[0]
    assert gap == pytest.approx(3.0, abs=0.25)


def test_an_experiment_without_controls_stays_where_it_is(batches):
    _, moved, experiments, control = batches
    control = control & (experiments == "a")
    corrected = transport(moved, experiments, control)
    np.testing.assert_array_equal(corrected[experiments == "b"], moved[experiments == "b"])
    assert untransported(experiments, control) == ["b"]


def test_z_scores_have_mean_0_and_variance_1_in_every_experiment(batches):
    _, moved, experiments, _ = batches
    with_constant = np.column_stack([moved, np.full(len(moved), 0.1)])
    scaled = zscore_by_experiment(with_constant, experiments)
    for name in "ab":
        part = scaled[experiments == name]
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(part.std(axis=0), [1, 1, 1, 0], atol=1e-9)


def test_variants_are_corrected_under_names_of_their_own(observations, make):
    features = make.features(observations, 1, 0, 3, 0)
    experiments = observations["experiment"].to_numpy(dtype=object)
    control = (observations["condition"] == "mock").to_numpy()
    target = common_moments(features, experiments, control)
    found = corrected_variants("seed0", features, experiments, control, target)
    assert list(found) == ["seed0", "seed0+zscore", "seed0+transport"]
    without = corrected_variants("seed0", features, experiments, None, None)
    assert list(without) == ["seed0", "seed0+zscore"]
